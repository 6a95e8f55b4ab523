package portal

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// overTLS is a connection to a service that speaks TLS. Its end of data is the one that TLS has: a
// connection that ends without is one that was cut.
type overTLS struct {
	*tls.Conn
	below netio.Conn
}

var _ netio.Conn = overTLS{}

// dialTLS shakes hands over a connection to the service, which is reset if that fails within
// timeout.
func dialTLS(
	ctx context.Context, c net.Conn, config *tls.Config, timeout time.Duration,
) (net.Conn, error) {
	below := wrap(c)
	over := overTLS{tls.Client(below, config), below}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := over.HandshakeContext(ctx); err != nil {
		_ = netio.Reset(below)
		return nil, err
	}
	return over, nil
}

// Reset implements netio.Resetter.
func (c overTLS) Reset() error { return netio.Reset(c.below) }
