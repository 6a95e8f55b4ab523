//go:build !windows

package cli

import (
	"io"
	"runtime"
)

func openServices() (serviceManager, error) { return nil, noServices(runtime.GOOS) }

func hostService(string, io.Writer, performer, []string) (int, error) {
	return 0, noServices(runtime.GOOS)
}
