//go:build !linux

package netio

import (
	"net"
	"syscall"
	"time"
)

// canSharePorts: others have options of the same names that do something else, or have not been
// tried.
const canSharePorts = false

func sharePort(_, _ string, _ syscall.RawConn) error { return ErrNoSharedPort }

func limitUnacknowledged(*net.TCPConn, time.Duration) {}
