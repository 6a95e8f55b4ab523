//go:build !unix

package handed

import (
	"errors"
	"os"
	"syscall"
	"time"
)

var errOnlyUnix = errors.New("only Unix hands open sockets to programs")

func inherited(int) (*os.File, error) { return nil, errOnlyUnix }

func check(int) error { return errOnlyUnix }

func withoutLinger(syscall.RawConn) error { return errOnlyUnix }

func neverWait(syscall.RawConn) {}

func withinTime(syscall.RawConn, time.Duration) error { return errOnlyUnix }
