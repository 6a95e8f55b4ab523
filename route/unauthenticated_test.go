package route

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// sourced is a link from somewhere else.
type sourced struct {
	netio.Conn
	from *net.TCPAddr
}

func (c sourced) RemoteAddr() net.Addr { return c.from }
func (c sourced) Reset() error         { return netio.Reset(c.Conn) }

// linkFrom returns a link from the nth of 65,536 sources.
func linkFrom(conn netio.Conn, n int) sourced {
	ip := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	return sourced{conn, net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 1234))}
}

// pipes is a listener for what is put on it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, io.EOF
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Links from ever so many sources on which nothing is said do not keep out who has something to
// say.
func TestAnonymousLinksMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 16
		w := newWorld(t)
		n := w.node(t, func(c *Config) { c.Limits.Unauthenticated = most })
		arriving := make(pipes)
		served := make(chan struct{})
		go func() {
			defer close(served)
			n.Serve(t.Context(), arriving)
		}()
		var ends []*faultnet.Conn
		connect := func() *faultnet.Conn {
			near, far := faultnet.Pipe()
			arriving <- linkFrom(far, len(ends))
			ends = append(ends, near)
			synctest.Wait()
			return near
		}
		for range most {
			connect()
		}
		asks := opening(t, wire.Message{Return: Route{w.node(t).labels.origin()}})
		time.Sleep(time.Second) // for which no link has to make room
		honest := connect()
		if _, err := honest.Write(asks); err != nil {
			t.Fatal(err)
		}
		status := make([]byte, 3)
		if _, err := io.ReadFull(honest, status); err != nil || wire.Code(status[0]) != wire.OK {
			t.Errorf("it hears %x, %v", status, err)
		}
		if _, err := ends[0].Read(status); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the oldest link hears %v", err)
		}
		for _, c := range ends {
			_ = c.Close()
		}
		close(arriving)
		<-served
	})
}
