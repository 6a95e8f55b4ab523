package portal

import (
	"context"
	"net"
	"sync"

	"github.com/secureportal/sp/portal/udp"
)

// lazyDialer is what an outlet dials a service of datagrams with, made when it is first needed. The
// zero value is ready.
type lazyDialer struct {
	once sync.Once
	of   udp.Dialer
}

// dialDatagrams is what dials a Target of udp://, in place of DialTarget.
func (o *Outlet) dialDatagrams(ctx context.Context) (net.Conn, error) {
	o.datagrams.once.Do(func() { o.datagrams.of.Config.Logger = o.Logger })
	ctx, cancel := context.WithTimeout(ctx, orDefault(o.ConnectTimeout))
	defer cancel()
	c, err := o.datagrams.of.Dial(ctx, o.Target)
	if err != nil {
		return nil, err // and no *udp.Conn that is nil
	}
	return c, nil
}
