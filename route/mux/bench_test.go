package mux

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/internal/netio"
)

// sockets returns the ends of a TCP connection over loopback.
func sockets(b *testing.B) (here, there netio.Conn) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _ = c.Close(), d.Close() })
	return netio.Wrap(c), netio.Wrap(d)
}

// BenchmarkTransfer sends 64 KiB at a time over one link, and beside it over a yamux stream.
func BenchmarkTransfer(b *testing.B) {
	b.Run("mux", func(b *testing.B) {
		here, there := sockets(b)
		opener, acceptor := side(b, here, NewOpener, Config{}), side(b, there, NewAcceptor, Config{})
		near, far := link(b, opener, acceptor)
		transfer(b, near, far)
	})
	b.Run("yamux", func(b *testing.B) {
		here, there := sockets(b)
		config := yamux.DefaultConfig()
		config.LogOutput, config.MaxStreamWindowSize = io.Discard, maxWindow
		client, _ := yamux.Client(here, config)
		server, _ := yamux.Server(there, config)
		near, err := client.OpenStream()
		if err != nil {
			b.Fatal(err)
		}
		far, err := server.AcceptStream()
		if err != nil {
			b.Fatal(err)
		}
		transfer(b, near, far)
		_, _ = client.Close(), server.Close()
	})
}

func transfer(b *testing.B, w io.Writer, r io.Reader) {
	const size = 64 << 10
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	var tasks sync.WaitGroup
	tasks.Go(func() {
		p := make([]byte, size)
		for range b.N {
			_, _ = w.Write(p)
		}
	})
	want := io.LimitReader(struct{ io.Reader }{r}, int64(b.N)*size)
	sink := struct{ io.Writer }{io.Discard}
	if _, err := io.CopyBuffer(sink, want, make([]byte, size)); err != nil {
		b.Fatal(err)
	}
	tasks.Wait()
}
