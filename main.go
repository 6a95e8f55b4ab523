// Command sp makes a TCP service reachable where it is not, and lets nobody in between read,
// change, cut short or impersonate it.
//
//	app ── TCP ──▶ sp inlet ──link──▶ sp relay ──link──▶ sp outlet ── TCP ──▶ service
//	                    └────────── secure channel, end to end ──────────┘
package main

import (
	"os"

	"github.com/secureportal/sp/cli"
)

// Set by the linker in a release.
var version, commit string

func main() {
	build := cli.Build{Version: version, Commit: commit}
	os.Exit(cli.Main(build, os.Args, os.Stdin, os.Stdout, os.Stderr))
}
