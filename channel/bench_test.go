package channel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/noise"
)

var testTime = time.Unix(1_700_000_000, 0)

// pairOf returns the two sides of a handshake that has not begun.
func pairOf(t testing.TB, config *Config, suite noise.Suite) (a, b *handshake) {
	t.Helper()
	e, err := New(*config)
	if err != nil {
		t.Fatal(err)
	}
	a, err = newHandshake(config, e.static, identity.Initiator, trust.As{}, suite, sessionID{})
	if err != nil {
		t.Fatal(err)
	}
	b, err = newHandshake(config, e.static, identity.Responder, trust.As{}, suite, sessionID{})
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// shake does a handshake without a link.
func shake(t testing.TB, a, b *handshake) {
	t.Helper()
	message, err := a.writeBare(nil)
	if err == nil {
		err = b.readBare(message)
	}
	if err == nil {
		message, err = b.writeProof(nil, "")
	}
	if err == nil {
		err = a.readProof(message)
	}
	if err == nil {
		message, err = a.writeProof(nil, "")
	}
	if err == nil {
		err = b.readProof(message)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Both sides of a handshake with their proofs, on one core.
func BenchmarkHandshake(b *testing.B) {
	for _, suite := range []noise.Suite{DefaultSuites()[0], quickSuite(b)} {
		b.Run(suite.String(), func(b *testing.B) {
			config := &Config{Identity: fuzzIdentity, Trust: testkit.Trusting(b, fuzzIdentity)}
			for b.Loop() {
				initiator, responder := pairOf(b, config, suite)
				shake(b, initiator, responder)
			}
		})
	}
}

// A record sealed, and opened.
func BenchmarkRecord(b *testing.B) {
	e := fuzzSecret(b)
	for _, size := range []int{1 << 10, 16 << 10, maxData} {
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			send, _ := e.keys(identity.Initiator, 1)
			_, receive := e.keys(identity.Responder, 1)
			buf := make([]byte, size+overhead)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				n, err := send.seal(buf, typeData, size)
				if err == nil {
					_, _, err = receive.open(buf[lengthSize:n])
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A flow that says a byte, hears it back and ends, over loopback.
func BenchmarkFlowOpened(b *testing.B) {
	for _, reuse := range []bool{true, false} {
		for _, survive := range []time.Duration{0, testSurvive} {
			name := fmt.Sprintf("reused link %v, survive %v", reuse, survive)
			b.Run(name, func(b *testing.B) { openFlows(b, reuse, survive) })
		}
	}
}

func openFlows(b *testing.B, reuse bool, survive time.Duration) {
	b.Helper()
	s := survivingPair(b, survive).session(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := s.Open(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		_, _ = f.Write([]byte{1})
		_ = f.CloseWrite()
		if n, err := io.Copy(io.Discard, f); n != 1 || err != nil {
			b.Fatal(n, err)
		}
		if !reuse {
			s.pool.mu.Lock()
			idle := s.pool.idle[0]
			s.pool.idle = s.pool.idle[:0]
			s.pool.mu.Unlock()
			_ = idle.Close()
		}
	}
}

// tcpFlow returns a flow over loopback whose far end copies what arrives to w. It outlives its
// links for a time.
func tcpFlow(t testing.TB, w io.Writer, survive time.Duration) *Flow {
	t.Helper()
	p := survivingPair(t, survive)
	p.handle = func(_ context.Context, f *Flow) {
		_, _ = f.WriteTo(w)
		_ = f.CloseWrite()
	}
	f, err := p.session(t).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Bytes from a socket through a flow to a socket, all over loopback: what an inlet and an outlet
// do, in one process.
func BenchmarkThroughput(b *testing.B) {
	for _, survive := range []time.Duration{0, testSurvive} {
		b.Run(fmt.Sprintf("survive %v", survive), func(b *testing.B) { throughput(b, survive) })
	}
}

func throughput(b *testing.B, survive time.Duration) {
	b.Helper()
	in, source := tcpPair(b)
	out, sink := tcpPair(b)
	f := tcpFlow(b, out, survive)
	go func() {
		_, _ = f.ReadFrom(in)
		_ = f.CloseWrite()
	}()
	const piece = 1 << 20
	b.SetBytes(piece)
	b.ReportAllocs()
	data, back := make([]byte, piece), make([]byte, piece)
	go func() {
		for {
			if _, err := source.Write(data); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		if _, err := io.ReadFull(sink, back); err != nil {
			b.Fatal(err)
		}
	}
	_ = source.Close()
	_ = sink.Close()
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return netio.Wrap(a), netio.Wrap(b)
}

// Nothing is allocated for a record, on the way from a socket to a socket. What is kept until it is
// acknowledged takes a few pieces of memory for each acknowledgement.
func TestNoAllocations(t *testing.T) {
	for _, survive := range []time.Duration{0, testSurvive} {
		for _, size := range []int{1, 1000, 3000, 16000} {
			t.Run(fmt.Sprintf("survive %v, %d bytes", survive, size), func(t *testing.T) {
				noAllocations(t, survive, size)
			})
		}
	}
}

func noAllocations(t *testing.T, survive time.Duration, size int) {
	t.Helper()
	in, source := tcpPair(t)
	out, sink := tcpPair(t)
	f := tcpFlow(t, out, survive)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = f.ReadFrom(in)
		_ = f.CloseWrite()
	}()
	const count = 1000
	data, back := make([]byte, size), make([]byte, size)
	messages := func() {
		for range count {
			_, _ = source.Write(data)
			_, _ = io.ReadFull(sink, back)
		}
	}
	most := 0
	switch {
	case survive > 0 && size > keptSmall:
		// What is not acknowledged takes buffers: hardly any, but one each where the far end is
		// slow. One more for each message is too many in any case.
		most = count
	case survive > 0:
		most = count * 3 / 10
	}
	// The pools may lose a buffer to a collection, or under the race detector at random.
	enough := float64(most + count/100)
	runs := testenv.OfRun(1, 3, 3)
	allocs := testing.AllocsPerRun(runs, messages) // what each message costs shows every time
	for tries := 4; allocs > enough && tries > 0; tries-- {
		allocs = min(allocs, testing.AllocsPerRun(3, messages))
	}
	if allocs > enough && !raceEnabled {
		t.Errorf("%v allocations for %d messages", allocs, count)
	}
	_ = source.Close()
	<-done
	_ = f.Close()
}

// No flow holds a buffer while it waits.
func TestIdleHoldsNoBuffer(t *testing.T) {
	p := samePair(t)
	flows := handOver(&p.handle)
	s := p.session(t)
	const count = 50
	var ends []*acceptedFlow
	for range count {
		f, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = f.WriteTo(io.Discard) }()
		_, _ = f.Write(bytes.Repeat([]byte("x"), 100_000))
		a := <-flows
		ends = append(ends, a)
		go func() { _, _ = a.ReadFrom(endsWhenReset{a.Flow}) }()
	}
	for _, a := range ends {
		if _, err := io.ReadFull(a, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if a.receiving.in.buffer != nil {
			t.Error("a flow that has nothing to do holds a buffer")
		}
		a.release()
	}
	runtime.GC()
}

// endsWhenReset gives nothing until its flow is over.
type endsWhenReset struct{ f *Flow }

func (e endsWhenReset) Read([]byte) (int, error) { return 0, io.EOF }
