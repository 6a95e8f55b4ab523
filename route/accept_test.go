package route

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
)

// failing is a listener that says one after the other.
type failing []error

func (f *failing) Accept() (net.Conn, error) {
	err := (*f)[0]
	*f = (*f)[1:]
	if err == nil {
		near, far := net.Pipe()
		_ = far.Close()
		return near, nil
	}
	return nil, err
}

func (*failing) Close() error   { return nil }
func (*failing) Addr() net.Addr { return &net.TCPAddr{} }

// A listener on which something has ended, such as its connection to somewhere, is not itself at
// its end.
func TestAcceptGoesOn(t *testing.T) {
	for _, end := range []error{io.EOF, net.ErrClosed, fmt.Errorf("accept: %w", net.ErrClosed)} {
		synctest.Test(t, func(t *testing.T) {
			l := failing{fmt.Errorf("the broker: %w", io.EOF), nil, end, nil}
			came := 0
			Accept(t.Context(), &l, slog.New(slog.DiscardHandler), func(c net.Conn) {
				came++
				_ = c.Close()
			})
			if came != 1 {
				t.Errorf("%v: %d connections, want 1", end, came)
			}
		})
	}
}
