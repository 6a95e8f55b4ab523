# nix run github:secureportal/sp -- help
{
  description = "secure portal: reach a TCP service where it is not";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.callPackage ./packaging/nix/package.nix {
          src = self;
          commit = self.rev or "dirty";
        };
      });
    };
}
