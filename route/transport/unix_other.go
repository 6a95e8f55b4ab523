//go:build !unix

package transport

import (
	"context"
	"io/fs"
	"net"
)

// hasAbstract tells that this system has no Unix sockets without a file.
const hasAbstract = false

// listenWithMode listens at path. Files have no modes here: their folder says who may use them.
func listenWithMode(
	ctx context.Context, c *net.ListenConfig, path string, _ fs.FileMode,
) (base, error) {
	return listenBase(ctx, c, "unix", path)
}
