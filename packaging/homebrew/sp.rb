# From main, until there is a release: brew install --HEAD ./packaging/homebrew/sp.rb
class Sp < Formula
  desc "Secure portal: reach a TCP service where it is not"
  homepage "https://github.com/secureportal/sp"
  license "Apache-2.0"
  head "https://github.com/secureportal/sp.git", branch: "main"

  depends_on "go" => :build

  def install
    ENV["CGO_ENABLED"] = "0"
    stamps = "-s -w -X main.version=#{version} -X main.commit=#{Utils.git_head}"
    system "go", "build", *std_go_args(ldflags: stamps)
    generate_completions_from_executable(bin/"sp", "completion")
    system bin/"sp", "man", "--dir", man1
    pkgshare.install "packaging/examples"
    doc.install Dir["docs/*.md"]
  end

  # The portals of a file: see sp help up.
  service do
    run [opt_bin/"sp", "up", "--config", etc/"sp/sp.toml"]
    keep_alive true
    log_path var/"log/sp.log"
    error_log_path var/"log/sp.log"
  end

  test do
    assert_match "sp ", shell_output("#{bin}/sp --version")
    system bin/"sp", "identity", "create", testpath/"key"
    assert_path_exists testpath/"key"
  end
end
