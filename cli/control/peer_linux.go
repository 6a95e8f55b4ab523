package control

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// mayCall tells whether the one at the other end has this process's user, or is root.
func mayCall(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	may := false
	err = raw.Control(func(fd uintptr) {
		who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		may = err == nil && (int(who.Uid) == os.Geteuid() || who.Uid == 0)
	})
	return err == nil && may
}

// refusedMeansGone tells that nobody listens where a connection is refused: a queue that is full
// has others wait.
func refusedMeansGone(string) bool { return true }
