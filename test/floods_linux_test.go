package test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/wire"
)

const (
	floodRate = 200 // times a second that a stranger comes
	floodKept = 500 // connections that he keeps, the newest
)

// TestFloodThroughRelay has a stranger come to an outlet by an honest relay, again and again. Who
// is trusted gets new sessions all the same, and connections in one that is there. The outlet may
// have few descriptors, and keeps some.
func TestFloodThroughRelay(t *testing.T) {
	alone(t)
	whole := firstHalf(t)[len(opening()):]
	for name, says := range map[string][]byte{
		"nothing":           nil,
		"one byte":          whole[:1],
		"most of a message": whole[:len(whole)-1],
		"a message":         whole,
	} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			floodThroughRelay(t, says)
		})
	}
}

func floodThroughRelay(t *testing.T, says []byte) {
	t.Helper()
	w := newTopology(t, plan{
		relay: true, few: "outlet", inlets: 1, target: service(t, echo),
		outlet: []string{"--log-level", "error"},
	})
	to := step(w.relayAt) + forwardTo("db")
	w.saysHello(to)
	before := w.outlet.use()
	f := beginFlood(t, stranger{net.IPv4(127, 9, 0, 1), w.relayAt}, says)
	// in which he takes what he can
	time.Sleep(testenv.OfRun(300*time.Millisecond, time.Second, time.Second))
	tries := testenv.OfRun(3, 10, 100)
	sessions, connections := 0, 0
	for range tries {
		if w.saidHello(to) {
			sessions++
		}
		if carriesThrough(w.address) {
			connections++
		}
	}
	during := w.outlet.use()
	came := f.end()
	t.Logf(
		"%d times in %v; of %d, %d sessions and %d connections; the outlet: before %v, then %v", came,
		f.took, tries, sessions, connections, before, during)
	if sessions < tries*9/10 || connections < tries*9/10 {
		t.Errorf(
			"a stranger keeps others out: of %d, %d sessions and %d connections", tries, sessions,
			connections)
	}
	if during.descriptors > fewFiles*3/4 {
		t.Errorf("a stranger takes %d of %d descriptors", during.descriptors, fewFiles)
	}
	most := int64(32 << 10) // KiB
	if raceDetector {
		most *= 8 // which keeps a shadow of all memory
	}
	if grown := during.rss - before.rss; grown > most {
		t.Errorf("a stranger takes %d MiB", grown>>10)
	}
}

// saidHello reports whether a new session carries something. A machine that is overwhelmed, by all
// that runs on it, has another try: then it is not the stranger whom a handshake waits for.
func (u person) saidHello(to string) bool {
	for left := attempts; ; left-- {
		began := time.Now()
		r := u.run(hello(to)...)
		late := strings.Contains(r.stderr, "timeout") || strings.Contains(r.stderr, "in time")
		if r.code == done || !late || left == 0 || pulse.Slowness(began) < overwhelmed {
			return r.stdout == "HELLO\n"
		}
	}
}

// overwhelmed is a machine so many times slower than a quiet one: what may take seconds is half a
// second of work.
const overwhelmed = 10

// carriesThrough reports whether a connection through an inlet carries something there and back.
func carriesThrough(inlet string) bool {
	c, err := net.DialTimeout("tcp", inlet, patience)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(unhurried(5 * time.Second)))
	if _, err := c.Write([]byte("hello")); err != nil {
		return false
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return err == nil
}

// streaming is a stranger who comes to a name on a relay at floodRate, until end.
type streaming struct {
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	came   atomic.Int64
	began  time.Time
	took   time.Duration
}

func beginFlood(t *testing.T, s stranger, says []byte) *streaming {
	t.Helper()
	asks, err := wire.AppendMessage(nil, wire.Message{
		Onward: wire.Route{{Kind: wire.Service, Name: "forward_to_db"}, {Kind: wire.Secure, Name: "api"}},
		Return: wire.Route{{Kind: wire.Label, Name: "stranger"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &streaming{cancel: cancel, began: time.Now()}
	t.Cleanup(func() { f.end() })
	f.tasks.Go(func() {
		var kept []net.Conn
		again := time.NewTicker(time.Second / floodRate)
		defer again.Stop()
		for ctx.Err() == nil {
			<-again.C
			c, err := s.dial(ctx)
			if err != nil {
				continue
			}
			_, _ = c.Write(append(asks[:len(asks):len(asks)], says...))
			f.came.Add(1)
			if kept = append(kept, c); len(kept) > floodKept {
				_ = kept[0].Close()
				kept = kept[1:]
			}
		}
		for _, c := range kept {
			_ = c.Close()
		}
	})
	return f
}

// end ends the flood, and returns how many times the stranger has come.
func (f *streaming) end() int64 {
	f.cancel()
	f.tasks.Wait()
	if f.took == 0 {
		f.took = time.Since(f.began).Round(time.Millisecond)
	}
	return f.came.Load()
}

// TestLongHistoryOfStranger has somebody refused whose identity has rotated its key as often as it
// can, and somebody whose has not: the outlet has at most twice the trouble. Where that seems to be
// more, two more measurements decide.
func TestLongHistoryOfStranger(t *testing.T) {
	alone(t)
	const rotations, rounds, handshakes = 31, 4, 6
	w := newTopology(t, plan{outlet: []string{"--log-level", "error"}})
	long, short := newPerson(t), newPerson(t)
	long.identifier()
	short.identifier()
	for range rotations {
		rotated(t, long.keyFile())
	}
	ping := []string{"ping", "-c", "1", "--allow", w.identifier(), "--to", w.route()}
	refused := func(u person) time.Duration {
		before := w.outlet.cpu()
		for range handshakes {
			if r := u.run(ping...); r.code != notTrusted {
				t.Errorf("exit code %d, want %d\n%s", r.code, notTrusted, r.stderr)
			}
		}
		return w.outlet.cpu() - before
	}
	ratio := func() float64 {
		var ofLong, ofShort time.Duration
		for range rounds {
			ofShort += refused(short)
			ofLong += refused(long)
		}
		t.Logf("%d handshakes cost %v with a history of 1, and %v with one of %d",
			rounds*handshakes, ofShort, ofLong, rotations+1)
		return float64(ofLong) / float64(ofShort)
	}
	if first := ratio(); first > 2 {
		all := []float64{first, ratio(), ratio()}
		if slices.Sort(all); all[1] > 2 {
			t.Errorf("a long history costs %.1f times what a short one does", all[1])
		}
	}
}

// cpu returns how long a process has computed.
func (p *process) cpu() (sum time.Duration) {
	p.t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/task/*/schedstat")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // of a thread that has ended
		}
		words := strings.Fields(string(b))
		if len(words) == 0 {
			continue
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}
