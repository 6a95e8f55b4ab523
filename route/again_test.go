package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// moody is an echo that does something else with the first requests, and counts all.
type moody struct {
	calls  atomic.Int32
	first  func(q *Request) error
	firsts int32
}

func (m *moody) serve(_ context.Context, q *Request) error {
	if m.calls.Add(1) <= m.firsts {
		return m.first(q)
	}
	s := q.Accept()
	if err := s.Flush(); err != nil {
		return err
	}
	p := netio.Proxy{A: s, B: &loop{data: make(chan []byte, 100), closed: make(chan struct{})}}
	return p.Run()
}

// loop is a conn that says what it is told, until it is closed.
type loop struct {
	netio.Conn
	data   chan []byte
	rest   []byte
	once   sync.Once
	closed chan struct{}
}

func (l *loop) Write(p []byte) (int, error) {
	select {
	case l.data <- append([]byte(nil), p...):
		return len(p), nil
	case <-l.closed:
		return 0, net.ErrClosed
	}
}

func (l *loop) CloseWrite() error { close(l.data); return nil }

func (l *loop) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		select {
		case l.rest = <-l.data:
		case <-l.closed:
			return 0, net.ErrClosed
		}
	}
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *loop) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// refuses has a request refused.
func refuses(code wire.Code) func(*Request) error {
	return func(*Request) error { return Refuse(code, "") }
}

// A stream is opened again where whoever it was for says that nothing has been carried, and only
// then, and what the application has said arrives once.
func TestStreamIsOpenedAgain(t *testing.T) {
	cut := func(q *Request) error { return netio.Reset(q.Conn()) }
	for _, test := range []struct {
		name   string
		first  func(*Request) error
		firsts int32
		bytes  int
		silent bool // the application says nothing before it has been answered
		calls  int32
		opens  bool
	}{
		{"busy", refuses(wire.Busy), 1, 5, false, 2, true},
		{"shutting down, twice", refuses(wire.GoingAway), againTries, 5, false, againTries + 1, true},
		{"too late", refuses(wire.Timeout), 1, 5, false, 2, true},
		{"busy for ever", refuses(wire.Busy), 9, 5, false, againTries + 1, false},
		{"much has been said", refuses(wire.Busy), 1, againMost + 1, false, 1, false},
		{"as much as is kept has been said", refuses(wire.Busy), 1, againMost, false, 2, true},
		{"and is kept without being asked", refuses(wire.Busy), 1, againBytes, false, 2, true},
		{"a decision", refuses(wire.NotTrusted), 1, 5, false, 1, false},
		{"the target refuses", refuses(wire.Refused), 1, 5, false, 1, false},
		{"cut, and something has been said", cut, 1, 5, false, 1, false},
		{"cut, and nothing has been said", cut, 1, 5, true, 2, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			far, at := w.listening(t)
			service := &moody{first: test.first, firsts: test.firsts}
			far.Handle("svc", service.serve)
			f := failover(t, w.node(t), Route{at, secure(), svc("svc")})
			s, err := f.OpenWith(testkit.Context(t), 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			testkit.Hurry(t, s)
			if test.silent {
				_, err = s.Read(nil)
			}
			said := testkit.Pattern(test.bytes)
			if err == nil {
				_, err = s.Write(said)
			}
			if err == nil {
				err = s.CloseWrite()
			}
			var got []byte
			if err == nil {
				got, err = io.ReadAll(s)
			}
			if (err == nil) != test.opens || err == nil && string(got) != string(said) {
				t.Errorf("%d of %d bytes come back, %v", len(got), len(said), err)
			}
			if n := service.calls.Load(); n != test.calls {
				t.Errorf("it was asked for %d times, not %d", n, test.calls)
			}
		})
	}
}

// Much that is said again is answered before all of it has been heard, and what is said after that
// stands behind it.
func TestMuchIsSaidAgain(t *testing.T) {
	const more = 4 << 20
	w := newWorld(t)
	far, at := w.listening(t)
	var calls atomic.Int32
	far.Handle("svc", func(_ context.Context, q *Request) error {
		if calls.Add(1) == 1 {
			return Refuse(wire.Busy, "")
		}
		return reply(q, func([]byte) {})
	})
	f := failover(t, w.node(t), Route{at, secure(), svc("svc")})
	s, err := f.OpenWith(testkit.Context(t), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	testkit.Hurry(t, s)
	said := testkit.Pattern(againMost + more)
	first := said[:againMost]
	if _, err := s.Write(first); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(s, heard[:1]); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := s.Write(said[againMost:])
		if err == nil {
			err = s.CloseWrite()
		}
		written <- err
	}()
	if _, err := io.ReadFull(s, heard[1:]); err != nil || string(heard) != string(said) {
		t.Fatalf("what comes back is wrong, %v", err)
	}
	testkit.ExpectEnd(t, s)
	if err := testkit.Within(t, written, "Write"); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, "no more is held, nor lost by others", func() bool {
		runtime.GC()
		return budget.Process.Taken() <= againMost
	})
}

// Where memory is short, little is kept.
func TestLittleIsKept(t *testing.T) {
	testkit.Eventually(t, "what others have lost is given back", func() bool {
		runtime.GC()
		return budget.Process.Taken() == 0
	})
	budget.SetProcess(4 << 20)
	defer budget.SetProcess(0)
	a := newAgain(newWorld(t).node(t), time.Time{}, nil, nil)
	before := budget.Process.Taken()
	a.keepLocked(make([]byte, againBytes))
	if !a.mayHappen() {
		t.Fatal("nothing is kept")
	}
	for range againMost / againBytes {
		a.keepLocked(make([]byte, againBytes))
	}
	if n := budget.Process.Taken() - before; a.mayHappen() || n != 0 {
		t.Errorf("all is kept, %d bytes are taken", n)
	}
	budget.SetProcess(0)
	a = newAgain(newWorld(t).node(t), time.Time{}, nil, nil)
	a.keepLocked(make([]byte, againMost))
	if n := budget.Process.Taken() - before; !a.mayHappen() || n != againMost {
		t.Errorf("not all is kept, %d bytes are taken", n)
	}
	a.settle(nil)
	if n := budget.Process.Taken() - before; n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// A connection of which nothing has come to the far end is one of which nothing has been carried.
func TestNeverSeenIsAReason(t *testing.T) {
	for err, want := range map[error]bool{
		channel.ErrNeverSeen: true, channel.ErrGone: false, channel.ErrCut: false,
	} {
		err = fmt.Errorf("reading: %w", err)
		if got := notCarried(err, false); got != want {
			t.Errorf("%v: said again %t, want %t", err, got, want)
		}
		if !notCarried(err, true) {
			t.Errorf("%v: nothing has been said, and is not said again", err)
		}
	}
}

// What anybody on the way says is no reason to say again what the application has said.
func TestHearsayIsNoReason(t *testing.T) {
	for code := wire.OK; code <= wire.NoSession; code++ {
		hearsay, said := &StatusError{Code: code, Hearsay: true}, &StatusError{Code: code}
		if notCarried(hearsay, false) {
			t.Errorf("%s on hearsay is believed", code)
		}
		transient := code == wire.Busy || code == wire.GoingAway || code == wire.Timeout ||
			code == wire.NoSession
		if notCarried(said, false) != transient || notCarried(hearsay, true) != transient {
			t.Errorf("%s: %v, silent %v", code, notCarried(said, false), notCarried(hearsay, true))
		}
	}
	if notCarried(io.ErrUnexpectedEOF, false) || !notCarried(io.ErrUnexpectedEOF, true) {
		t.Error("a link that broke")
	}
}

// Another path is better than the one that has just refused, and not all can come back at once.
func TestOpenedElsewhere(t *testing.T) {
	w := newWorld(t)
	first, at := w.listening(t)
	busy := &moody{first: refuses(wire.Busy), firsts: 1000}
	first.Handle("svc", busy.serve)
	second, other := w.listening(t)
	well := &moody{}
	second.Handle("svc", well.serve)
	f := failover(t, w.node(t), Route{at, secure(), svc("svc")}, Route{other, secure(), svc("svc")})
	testkit.Eventually(t, "both paths", func() bool { return f.all()[0].isUp() && f.all()[1].isUp() })
	open := func() error {
		s, err := f.OpenWith(testkit.Context(t), 0, nil)
		if err != nil {
			return err
		}
		defer s.Close()
		testkit.Hurry(t, s)
		if _, err := s.Write([]byte("hello")); err != nil {
			return err
		}
		_, err = io.ReadFull(s, make([]byte, 5))
		return err
	}
	if err := open(); err != nil || busy.calls.Load() != 1 || well.calls.Load() != 1 {
		t.Errorf("%v; it was asked for %d times here and %d there", err, busy.calls.Load(),
			well.calls.Load())
	}
	f.mu.Lock()
	for f.again.Take(againRate, time.Now().Add(testkit.Patience)) { // nor may one meanwhile
	}
	f.mu.Unlock()
	var status *StatusError
	if err := open(); !errors.As(err, &status) || status.Code != wire.Busy {
		t.Errorf("too many come back: %v", err)
	}
}

// A stream that is given up while it is opened again ends at once.
func TestOpenAgainEnds(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	service := &moody{firsts: 1}
	service.first = func(*Request) error {
		go func() { _ = far.Close() }() // there will be no path
		return Refuse(wire.GoingAway, "")
	}
	far.Handle("svc", service.serve)
	f := failover(t, w.node(t), Route{at, secure(), svc("svc")})
	s, err := f.OpenWith(testkit.Context(t), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Read(nil)
		ended <- err
	}()
	testkit.Eventually(t, "the refusal", func() bool { return service.calls.Load() > 0 })
	_ = s.Reset()
	if err := testkit.Within(t, ended, "Read"); err == nil {
		t.Error("it has been answered")
	}
}

// Whoever comes when all paths have been down for a while is told at once, and who comes before
// that waits.
func TestKnownDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const timeout = 2 * time.Second
	near := w.node(t, func(c *Config) { c.ConnectTimeout = timeout })
	pulse := testkit.StartPulse()
	defer pulse.Stop()
	began := time.Now()
	f := failover(t, near, Route{nowhere(t), secure(), svc("svc")})
	for _, want := range []struct{ least, most time.Duration }{
		{timeout / 4, testkit.Patience}, // restarts take as long
		{0, timeout / 2},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
		_, err := f.OpenWith(ctx, 0, nil)
		cancel()
		var failed *DialError
		took, most := time.Since(began), pulse.Stretch(want.most, began)
		if !errors.As(err, &failed) || took < want.least || took > most {
			t.Errorf("%v after %v", err, took)
		}
		began = time.Now()
	}
}
