package channel

import (
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/secureportal/sp/internal/netio"
)

// watched is a link that can be parked, and on which what comes is glanced at first.
type watched struct {
	Conn
	chunk int // how much comes at once, at most
	takes int // how much is written at once without waiting, at most

	mu      sync.Mutex
	ahead   []byte // has come and has not been read
	err     error  // behind that
	glances int
	calls   int // of who is to wait himself
}

var (
	_ netio.Glancer = (*watched)(nil)
	_ netio.Prompt  = (*watched)(nil)
)

func (w *watched) Park(ready func()) bool { return w.ParkAndGlance(nil, ready) }

func (w *watched) ParkAndGlance(glance func() bool, ready func()) bool {
	go func() {
		b := make([]byte, w.chunk)
		for {
			n, err := w.Conn.Read(b)
			w.mu.Lock()
			w.ahead, w.err = append(w.ahead, b[:n]...), err
			w.glances++
			w.mu.Unlock()
			if err != nil || glance == nil || !glance() {
				break
			}
		}
		w.mu.Lock()
		w.calls++
		w.mu.Unlock()
		ready()
	}()
	return true
}

// take returns what has come, or its end, and nothing if there is neither.
func (w *watched) take(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = copy(p, w.ahead)
	w.ahead = w.ahead[n:]
	if n == 0 {
		err, w.err = w.err, nil
	}
	return n, err
}

func (w *watched) Read(p []byte) (int, error) {
	if n, err := w.take(p); n > 0 || err != nil {
		return n, err
	}
	return w.Conn.Read(p)
}

func (w *watched) ReadNow(room netio.Room) (n int, ok bool) {
	w.mu.Lock()
	some, over := len(w.ahead) > 0, w.err != nil
	w.mu.Unlock()
	if !some {
		return 0, !over
	}
	n, _ = w.take(room.Acquire()[0])
	return n, true
}

func (w *watched) WriteNow(p []byte) int {
	n, _ := w.Conn.Write(p[:min(w.takes, len(p))])
	return n
}

// counts returns how often it has been glanced at, and how often that was not enough.
func (w *watched) counts() (glances, calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.glances, w.calls
}

// watch has the responder's links be watched.
func (l *lab) watch(chunk, takes int) {
	l.watching = func(server Conn) Conn {
		return &watched{Conn: server, chunk: chunk, takes: takes}
	}
}

// sessions returns where those come that begin at the responder.
func (l *lab) sessions() chan *Session {
	began := make(chan *Session, 1)
	l.responder.config.Began = func(s *Session) func() {
		began <- s
		return func() {}
	}
	return began
}

// Pings are answered without a goroutine, however they come and whatever the link takes at once.
func TestGlanceAtPings(t *testing.T) {
	for _, at := range []struct{ chunk, takes int }{{100, 100}, {1, 100}, {100, 0}, {7, 5}} {
		inBubble(t, nil, func(t *testing.T, l *lab) {
			l.watch(at.chunk, at.takes)
			began := l.sessions()
			s := l.session()
			on := (<-began).control.link.Conn.(*watched)
			synctest.Wait()
			_, before := on.counts()
			for range 3 {
				if _, err := s.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if glances, calls := on.counts(); glances < 3 || calls != before {
				t.Errorf("%+v: %d glances at pings, and %d goroutines", at, glances, calls-before)
			}
		})
	}
}

// Of many pings that come at once a glance answers a few, and a goroutine the others.
func TestGlanceAtMany(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.watch(64<<10, 64<<10)
		began := l.sessions()
		s := l.session()
		on := (<-began).control.link.Conn.(*watched)
		synctest.Wait()
		_, before := on.counts()
		var together []byte
		for n := range uint64(3 * glanceMost) {
			b, err := s.control.out.one(&s.control.send, nil, typePing,
				binary.BigEndian.AppendUint64(nil, n+1))
			if err != nil {
				t.Fatal(err)
			}
			together = append(together, b...)
			s.control.out.Release()
		}
		s.heartbeat.sent = 3 * glanceMost
		if _, err := s.control.link.Write(together); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, calls := on.counts(); calls != before+1 {
			t.Errorf("%d goroutines for what came at once", calls-before)
		}
		if _, err := s.Ping(t.Context()); err != nil {
			t.Error("and then:", err)
		}
	})
}

// What else comes on the control link is handled as it would be without a glance.
func TestGlanceAtOthers(t *testing.T) {
	say := func(t recordType, size int) func(s *Session) {
		return func(s *Session) { s.control.say(t, make([]byte, size)) }
	}
	forged := func(s *Session) { forge(s.control.link, pingSize) }
	over := func(s *Session) { _ = s.control.link.Conn.Close() }
	behind := func(what func(s *Session)) func(s *Session) {
		return func(s *Session) {
			s.heartbeat.send(nil)
			what(s)
		}
	}
	for name, row := range map[string]struct {
		say  func(s *Session)
		want error // why the responder ends the session; nil: it goes on
	}{
		"another record":       {say(typeGoingAway, 0), nil},
		"one of a ping's size": {say(typeGone, pingSize), ErrProtocol},
		"that in wrong place":  {say(typeReady, pingSize), ErrProtocol},
		"one that was forged":  {forged, ErrForged},
		"the end":              {over, ErrCut},
		"another one behind":   {behind(say(typeGoingAway, 0)), nil},
		"a forged one behind":  {behind(forged), ErrForged},
		"the end behind":       {behind(over), ErrCut},
	} {
		inBubble(t, nil, func(t *testing.T, l *lab) {
			l.watch(1000, 1000)
			began := l.sessions()
			s := l.session()
			far := <-began
			synctest.Wait()
			row.say(s)
			synctest.Wait()
			if row.want == nil {
				if err := far.Err(); err != nil {
					t.Errorf("%s: the session has ended: %v", name, err)
				}
				return
			}
			wantErr(t, far.Err(), row.want)
		})
	}
}

// forge writes what has the size of a record on a link, and is none.
func forge(l *link, data int) {
	b := make([]byte, overhead+data)
	b[1] = byte(len(b) - lengthSize)
	_, _ = l.Write(b)
}

// keepAlive sends what Flow.keepAlive does, on a link that cannot tell whether it takes that.
func keepAlive(t *testing.T, f *Flow) {
	t.Helper()
	f.sending.Lock()
	defer f.sending.Unlock()
	if err := f.sendRecordLocked(typeData); err != nil {
		t.Error(err)
	}
}

// What only keeps a flow alive is glanced at, however it comes; what else there is finds its user.
func TestGlanceAtFlow(t *testing.T) {
	data := func(f *Flow) error {
		_, err := f.Write([]byte("data"))
		return err
	}
	forged := func(size int) func(f *Flow) error {
		return func(f *Flow) error {
			forge(linkOf(f), size)
			return nil
		}
	}
	for name, row := range map[string]struct {
		say  func(f *Flow) error
		want string
		err  error
	}{
		"data":      {data, "data", nil},
		"the end":   {(*Flow).CloseWrite, "", io.EOF},
		"a reset":   {(*Flow).Reset, "", ErrReset},
		"a forgery": {forged(0), "", ErrForged},
		"more":      {forged(1), "", ErrForged},
		"a cut":     {func(f *Flow) error { return linkOf(f).Conn.Close() }, "", ErrCut},
		"two things": {func(f *Flow) error {
			keepAlive(t, f)
			return data(f)
		}, "data", nil},
	} {
		for _, chunk := range []int{1, 1000} {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				flows := l.accepted()
				l.watch(chunk, 1000)
				f, far := l.both(l.session(), flows)
				defer far.release()
				on := linkOf(far.Flow).Conn.(*watched)
				_, before := on.counts()
				ready := make(chan struct{})
				if !far.Park(func() { close(ready) }) {
					t.Fatal("cannot be parked")
				}
				for range 3 {
					keepAlive(t, f)
					synctest.Wait()
				}
				if glances, calls := on.counts(); glances < 3 || calls != before {
					t.Errorf("%d: %d glances, and %d goroutines", chunk, glances, calls-before)
				}
				if err := row.say(f); err != nil {
					t.Error(err)
				}
				<-ready
				b := make([]byte, 100)
				n, err := far.Read(b)
				if string(b[:n]) != row.want {
					t.Errorf("%s: read %q", name, b[:n])
				}
				if row.err != nil {
					wantErr(t, err, row.err)
				}
			})
		}
	}
}
