package portal

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/route"
)

// noDeadline takes the deadline off a conn that is to live as long as a benchmark.
var noDeadline time.Time

// BenchmarkPortal is bytes from a client to a service, or back, through an inlet and an outlet, all
// in this process.
func BenchmarkPortal(b *testing.B) {
	for _, up := range []bool{true, false} {
		name := "down"
		if up {
			name = "up"
		}
		b.Run(name, func(b *testing.B) {
			p := newTunnel(b)
			from, to := p.connect(b)
			if !up {
				from, to = to, from
			}
			_ = from.SetDeadline(noDeadline)
			_ = to.SetDeadline(noDeadline)
			received := make(chan int64, 1)
			go func() {
				n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{to},
					make([]byte, 256<<10))
				received <- n
			}()
			data := make([]byte, 256<<10)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := from.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			_ = from.CloseWrite()
			if n := <-received; n != int64(b.N)*int64(len(data)) {
				b.Fatalf("%d bytes came of %d", n, int64(b.N)*int64(len(data)))
			}
			b.StopTimer()
			_ = to.Close()
		})
	}
}

// BenchmarkConnection is a client that connects, says a byte, hears one, and leaves.
func BenchmarkConnection(b *testing.B) {
	p := newTunnel(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := p.service.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(c, struct{ io.Reader }{c}, 1)
			_ = c.Close()
		}
	}()
	buf := make([]byte, 2)
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(buf[:1]); err != nil {
			b.Fatal(err)
		}
		if n, err := io.ReadFull(struct{ io.Reader }{c}, buf); n != 1 {
			b.Fatal(err)
		}
		_ = c.Close()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
	_ = p.service.Close()
	<-done
}

// BenchmarkRoundTrip is a byte there and back on a connection that stays.
func BenchmarkRoundTrip(b *testing.B) {
	p := newTunnel(b)
	client, service := p.connect(b)
	_ = client.SetDeadline(noDeadline)
	_ = service.SetDeadline(noDeadline)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(service, struct{ io.Reader }{service})
	}()
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := client.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	_ = client.Close()
	<-done
}

// BenchmarkOpen is a stream that is opened and ended both ways, each on the link that the one
// before has left clean.
func BenchmarkOpen(b *testing.B) {
	p := newTunnel(b)
	p.outlet.Handle("end", func(_ context.Context, q *route.Request) error {
		s := q.Accept()
		if _, err := io.Copy(io.Discard, s); err != nil {
			return err
		}
		return s.CloseWrite()
	})
	to := append(p.route()[:2:2], p.route()[2])
	to[2].Name = "end"
	b.ReportAllocs()
	for b.Loop() {
		s, err := p.inlet.Open(b.Context(), to, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.CloseWrite(); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, s); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}
