//go:build unix && !linux

package transport

import (
	"context"
	"io/fs"
	"net"
	"sync"
	"syscall"
)

// hasAbstract tells that this system has no Unix sockets without a file.
const hasAbstract = false

// ownersOnly is the umask under which a socket is bound. Whatever else this process makes
// meanwhile is not for others either.
const ownersOnly = 0o077

// masking is held while the umask, which belongs to the whole process, is another.
var masking sync.Mutex

// listenWithMode listens at path. At no moment others can use the file who may not.
func listenWithMode(
	ctx context.Context, c *net.ListenConfig, path string, mode fs.FileMode,
) (base, error) {
	masking.Lock()
	defer masking.Unlock()
	before := syscall.Umask(ownersOnly)
	l, err := listenBase(ctx, c, "unix", path)
	syscall.Umask(before)
	if err != nil {
		return nil, err
	}
	return widen(l, path, mode.Perm())
}
