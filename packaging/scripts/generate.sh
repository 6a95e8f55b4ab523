#!/bin/sh
# Before packages are made, in a checkout: sh generate.sh FOLDER VERSION writes the man pages and the
# completions of this commit into FOLDER, which it empties first.
set -eu

rm -rf "$1"
mkdir -p "$1/completions"
# For the machine it runs on, whatever is being built.
unset GOOS GOARCH GOARM
CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$2" -o "$1/sp" .
"$1/sp" man --dir "$1/man1"
"$1/sp" completion bash >"$1/completions/sp.bash"
"$1/sp" completion zsh >"$1/completions/_sp"
"$1/sp" completion fish >"$1/completions/sp.fish"
rm "$1/sp"
