#!/bin/sh
# Before packages are made, in a checkout: sh generate.sh FOLDER VERSION SECONDS writes what is made
# for them into FOLDER, which it empties first: the man pages and completions of this commit, and the
# scripts of packages as of SECONDS, the commit's time, for apk keeps when they were changed.
set -eu
folder=$1 version=$2 seconds=$3

rm -rf "$folder"
mkdir -p "$folder/completions" "$folder/scripts"
# For the machine it runs on, whatever is being built.
unset GOOS GOARCH GOARM
CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$version" -o "$folder/sp" .
"$folder/sp" man --dir "$folder/man1"
"$folder/sp" completion bash >"$folder/completions/sp.bash"
"$folder/sp" completion zsh >"$folder/completions/_sp"
"$folder/sp" completion fish >"$folder/completions/sp.fish"
rm "$folder/sp"
for script in postinstall preremove postremove; do
    cp "packaging/scripts/$script.sh" "$folder/scripts/"
    touch -d "@$seconds" "$folder/scripts/$script.sh"
done
