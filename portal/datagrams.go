package portal

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/portal/udp"
)

// lazyDialer is what an outlet dials a service of datagrams with, made when it is first needed. The
// zero value is ready.
type lazyDialer struct {
	once sync.Once
	of   udp.Dialer
}

func (l *lazyDialer) dial(
	ctx context.Context, o *Outlet, timeout time.Duration,
) (net.Conn, error) {
	l.once.Do(func() { l.of.Config.Logger = o.Logger })
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := l.of.Dial(ctx, o.Target)
	if err != nil {
		return nil, err // and no *udp.Conn that is nil
	}
	return c, nil
}
