package test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/wire"
)

// stranger is somebody who is not trusted. Each has an address of its own on this machine.
type stranger struct {
	from   net.IP
	victim string
}

func (s stranger) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.from}, Timeout: patience}
	c, err := d.DialContext(ctx, "tcp", s.victim)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// says writes b on a connection of its own and waits until the victim ends that, or lasts has
// passed, as a quiet machine counts time. It reports whether the victim ended it.
func (s stranger) says(ctx context.Context, lasts time.Duration, b ...[]byte) (ended bool) {
	c, err := s.dial(ctx)
	if err != nil {
		return true
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	began := time.Now()
	_ = c.SetDeadline(began.Add(patience))
	for _, part := range b {
		if _, err := c.Write(part); err != nil {
			break
		}
	}
	for inTime(began, lasts) {
		_ = c.SetReadDeadline(time.Now().Add(time.Second / 2))
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
			return true
		}
	}
	return false
}

// opening is an opening message for the node's secure channel.
func opening() []byte {
	b, err := wire.AppendMessage(nil, wire.Message{
		Onward: wire.Route{{Kind: wire.Secure, Name: "api"}},
		Return: wire.Route{{Kind: wire.Label, Name: "stranger"}},
	})
	if err != nil {
		panic(err) // it is within all limits
	}
	return b
}

// firstHalf is an opening message and the first message of a handshake: all that a stranger can say
// and be heard.
func firstHalf(t testing.TB) []byte {
	t.Helper()
	suite := channel.DefaultSuites()[0]
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h, err := noise.NewHandshakeState(noise.Config{Suite: suite, Initiator: true, Static: static})
	if err != nil {
		t.Fatal(err)
	}
	message, err := h.WriteMessage(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := append(opensWith(suite.String()), 0, 0)
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(len(message)))
	return append(b, message...)
}

// opensWith is an opening message and the beginning of a handshake with a suite.
func opensWith(suite string) []byte {
	return append(append(opening(), 1, byte(len(suite))), suite...)
}

// largest are openings of which each has one length at its largest, and then all that it promises,
// or more.
func largest() map[string][]byte {
	rest := make([]byte, 128<<10)
	with := func(head ...byte) []byte { return append(head, rest...) }
	suite := channel.DefaultSuites()[0].String()
	frame := append(opensWith(suite), 0xff, 0xff)
	return map[string][]byte{
		"message":         with(1, 0, 0xff, 0xff),
		"message allowed": with(1, 0, 0x0f, 0xfc),
		"onward route":    with(1, 0, 0x0f, 0x00, 255),
		"address":         with(1, 0, 0x0f, 0x00, 1, 1, 255),
		"return route":    with(1, 0, 0x0f, 0x00, 0, 255),
		"suite":           append(append(opening(), 1, 255), rest...),
		"frame":           append(frame, rest...),
		"frame allowed":   append(append(opensWith(suite), 0x20, 0x00), rest...),
		"record": append(append(append(opening(), 2), rest[:24]...),
			append([]byte{0xff, 0xff}, rest...)...),
	}
}

// assault is what strangers do to a node until ctx ends.
type assault struct {
	name string
	run  func(ctx context.Context, t *testing.T, victim string) (figure string)
}

const handshakeEnds = 15 * time.Second // by when a victim must have ended what leads nowhere

func strangersWays() []assault {
	return []assault{
		{"half-open handshakes", halfOpen},
		{"one byte a second", loris},
		{"random bytes", randomBytes},
		{"largest lengths", largestLengths},
		{"64 MiB before authentication", flood},
	}
}

// crowdOf runs n strangers, some at once, each with an address out of 16.
func crowdOf(n, atOnce int, victim string, work func(s stranger, k int)) {
	var next atomic.Int64
	var tasks sync.WaitGroup
	for range atOnce {
		tasks.Go(func() {
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				work(stranger{net.IPv4(127, 0, 1, byte(1+k%16)), victim}, k)
			}
		})
	}
	tasks.Wait()
}

func halfOpen(ctx context.Context, t *testing.T, victim string) string {
	n := testenv.OfRun(250, 1000, 10_000)
	b := firstHalf(t)
	var left atomic.Int64
	began := time.Now()
	crowdOf(n, 2000, victim, func(s stranger, _ int) {
		if !s.says(ctx, handshakeEnds, b) {
			left.Add(1)
		}
	})
	if left.Load() > 0 {
		t.Errorf("%d of %d half-open handshakes were not ended within %v", left.Load(), n,
			handshakeEnds)
	}
	return fmt.Sprintf("%d in %v", n, time.Since(began).Round(100*time.Millisecond))
}

func loris(ctx context.Context, t *testing.T, victim string) string {
	n := testenv.OfFull(50, 500)
	b := firstHalf(t)
	var left, said atomic.Int64
	crowdOf(n, n, victim, func(s stranger, _ int) {
		c, err := s.dial(ctx)
		if err != nil {
			return
		}
		defer c.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, c)
		}()
		defer func() { _ = c.Close(); <-ended }()
		second := time.NewTicker(time.Second)
		defer second.Stop()
		began := time.Now()
		for k := 0; ; k++ {
			_, _ = c.Write(b[k%len(b):][:1])
			said.Add(1)
			select {
			case <-ended:
				return
			case <-second.C:
			}
			if !inTime(began, 2*handshakeEnds) {
				left.Add(1)
				return
			}
		}
	})
	if left.Load() > 0 {
		t.Errorf("%d of %d slow strangers are still there after %v", left.Load(), n,
			2*handshakeEnds)
	}
	return fmt.Sprintf("%d, heard for %.1f bytes each", n, float64(said.Load())/float64(n))
}

func randomBytes(ctx context.Context, _ *testing.T, victim string) string {
	n := testenv.OfRun(50, 200, 5000)
	crowdOf(n, 16, victim, func(s stranger, k int) {
		b := make([]byte, 1+k*37%8192)
		_, _ = pseudorandom(uint64(k)).Read(b)
		if k%2 == 0 { // it gets past the version
			b[0] = 1
		}
		c, err := s.dial(ctx)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(unhurried(handshakeEnds)))
		_, _ = c.Write(b)
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	return fmt.Sprint(n)
}

func largestLengths(ctx context.Context, t *testing.T, victim string) string {
	rounds, all := testenv.OfFull(1, 5), largest()
	for range rounds {
		var tasks sync.WaitGroup
		for name, b := range all {
			tasks.Go(func() {
				if !(stranger{net.IPv4(127, 0, 2, 1), victim}).says(ctx, handshakeEnds, b) {
					t.Errorf("%s: not ended within %v", name, handshakeEnds)
				}
			})
		}
		tasks.Wait()
	}
	return fmt.Sprint(rounds * len(all))
}

func flood(ctx context.Context, _ *testing.T, victim string) string {
	const size = 64 << 20
	chunk := make([]byte, 64<<10)
	var taken atomic.Int64
	heads := [][]byte{
		{1, 0, 0x0f, 0xfc},
		opensWith(channel.DefaultSuites()[0].String()),
		append(opening(), 2),
		{},
	}
	crowdOf(len(heads), len(heads), victim, func(s stranger, k int) {
		c, err := s.dial(ctx)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(unhurried(handshakeEnds)))
		if _, err := c.Write(heads[k]); err != nil {
			return
		}
		for sent := 0; sent < size; {
			n, err := c.Write(chunk)
			sent += n
			taken.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	return fmt.Sprintf("4 times; %d KiB were taken in all, socket buffers included",
		taken.Load()>>10)
}

// hostileGrowth bounds what a process may grow by under attack: 2,000 handshakes at once, each of
// which ends within seconds, are 80 MiB.
const hostileGrowth = 128 << 10 // KiB

// TestStrangers attacks the port of an outlet and that of a relay while a trusted client has a
// transfer going. Memory stays bounded, the trusted client goes on, and nobody is left waiting.
func TestStrangers(t *testing.T) {
	alone(t)
	for _, through := range []bool{false, true} {
		name := map[bool]string{false: "outlet", true: "relay"}[through]
		t.Run(name, func(t *testing.T) {
			alone(t)
			m := newMirror(t, testenv.OfRun[int64](2<<20, 8<<20, 1<<30))
			w := newTopology(t, plan{
				relay: through, target: m.address, inlets: 1,
				flags: []string{"--log-level", "error"},
			})
			p, victim := w.outlet, hostPortOf(w.route())
			if through {
				p, victim = w.relay, w.relayAt
			}
			_ = carry(t, m, w.address) // the first is slower than those that follow
			for _, a := range strangersWays() {
				underAttack(t, a, p, victim, func() time.Duration { return carry(t, m, w.address) })
			}
		})
	}
}

// carry receives the mirror's stream, and returns how long that took.
func carry(t *testing.T, m *mirror, inlet string) time.Duration {
	t.Helper()
	began := time.Now()
	if err := m.receive(dial(t, inlet)); err != nil {
		t.Errorf("the trusted client: %v", err)
	}
	return time.Since(began)
}

// underAttack looks at the trusted client's speed under an attack, and at the victim's memory.
func underAttack(t *testing.T, a assault, p *process, victim string, trusted func() time.Duration) {
	t.Helper()
	p.resetPeak()
	before := p.use()
	var ratios []float64
	var figure string
	for range testenv.OfFull(1, 3) {
		var ratio float64
		ratio, figure = disturbed(t, a, victim, trusted)
		ratios = append(ratios, ratio)
	}
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	grown := p.use().peak - before.rss
	t.Logf("%s: %s; the trusted client had %.0f %% of its speed, of %.2f; "+
		"the victim's memory grew by %.1f MiB at most from %.1f MiB",
		a.name, figure, 100*ratio, ratios, float64(grown)/1024, float64(before.rss)/1024)
	if raceDetector {
		return
	}
	if grown > hostileGrowth {
		t.Errorf("%s: the victim grew by %d KiB, want at most %d", a.name, grown, hostileGrowth)
	}
	if testenv.Full() && ratio < 0.5 {
		t.Errorf("%s: the trusted client had %.0f %% of its speed, want half", a.name, 100*ratio)
	}
}

// disturbed returns what part of its speed the trusted client has while an attack goes on, again
// and again until the client has finished. The speed without one is taken just before: what else a
// machine has to do changes within a minute.
func disturbed(t *testing.T, a assault, victim string, trusted func() time.Duration) (ratio float64,
	figure string,
) {
	t.Helper()
	calm := trusted()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, over := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(over)
		first <- a.run(ctx, t, victim)
		for ctx.Err() == nil {
			_ = a.run(ctx, t, victim)
		}
	}()
	took := trusted()
	figure = <-first
	cancel()
	<-over
	return float64(calm) / float64(took), figure
}

// TestReplay records all that an inlet says to an outlet, and says it again: nothing of it reaches
// the target.
func TestReplay(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	said := make(map[int][]byte)
	me := newPerson(t)
	var reached atomic.Int64
	target := service(t, func(c conn) {
		reached.Add(1)
		echo(c)
	})
	_, outlet := me.startOutlet(target, "--log-level", "error")
	recorder := proxy(t, outlet, faultnet.ProxyConfig{Tap: func(conn int, dir faultnet.Direction,
		p []byte,
	) {
		if dir == faultnet.ClientToServer {
			mu.Lock()
			defer mu.Unlock()
			said[conn] = append(said[conn], p...)
		}
	}})
	inlet := me.inletTo(recorder.Addr(), "--log-level", "error")
	const talks = 20
	var open []net.Conn
	for k := range talks {
		c := dial(t, inlet)
		if err := echoes(c, fmt.Sprint("a secret order, number ", k)); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	before := reached.Load()
	mu.Lock()
	recorded := said
	said = make(map[int][]byte)
	mu.Unlock()
	replay := func() {
		var tasks sync.WaitGroup
		for _, b := range recorded {
			tasks.Go(func() {
				stranger{net.IPv4(127, 0, 3, 1), outlet}.says(t.Context(),
					testenv.OfFull(3*time.Second, 20*time.Second), b)
			})
		}
		tasks.Wait()
	}
	replay() // while the session lives
	for _, c := range open {
		_ = c.Close()
	}
	replay() // and when its connections have ended
	if now := reached.Load(); now != before {
		t.Errorf("the target has seen %d more connections", now-before)
	}
	if err := echoes(dial(t, inlet), "still here"); err != nil {
		t.Error(err)
	}
	t.Logf("%d links replayed twice, %d connections at the target", len(recorded), before)
}
