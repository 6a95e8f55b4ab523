{
  lib,
  stdenv,
  buildGoModule,
  installShellFiles,
  src,
  commit,
}:

buildGoModule {
  pname = "sp";
  version = "0-unreleased";
  inherit src;

  # Of the modules that go.sum names: go test ./packaging -run TestNixVendorHash says it anew,
  # with SP_FULL=1.
  vendorHash = "sha256-QdMMzVg8dfkIhnL1Nf8K5Ozazh9yX+R/UxlG2AvqaEM=";

  subPackages = [ "." ];
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
    "-X main.commit=${commit}"
  ];
  # They drive other programs and make networks: .ci/run has them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    install -Dm644 -t $out/lib/systemd/system packaging/systemd/*.service
    substituteInPlace $out/lib/systemd/system/*.service --replace-fail /usr/bin/sp $out/bin/sp
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/sp man --dir man1
    installManPage man1/*.1
    installShellCompletion --cmd sp \
      --bash <($out/bin/sp completion bash) \
      --zsh <($out/bin/sp completion zsh) \
      --fish <($out/bin/sp completion fish)
  '';

  meta = {
    description = "Secure portal: reach a TCP service where it is not";
    homepage = "https://github.com/secureportal/sp";
    license = lib.licenses.asl20;
    mainProgram = "sp";
  };
}
