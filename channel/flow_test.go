package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
)

func TestHalfCloseBothWays(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		for _, swap := range []bool{false, true} {
			f, a := l.both(s, flows)
			var x, y netio.Conn = f, a.Flow
			if swap {
				x, y = y, x
			}
			write(t, x, "question")
			if err := x.CloseWrite(); err != nil {
				t.Error(err)
			}
			expect(t, y, "question")
			expectEnd(t, y)
			expectEnd(t, y)
			_, err := x.Write([]byte("more"))
			wantErr(t, err, net.ErrClosed)
			time.Sleep(time.Hour)
			write(t, y, "answer")
			expect(t, x, "answer")
			if err := y.CloseWrite(); err != nil {
				t.Error(err)
			}
			expectEnd(t, x)
			a.release()
		}
	})
}

// Whatever ends a flow other than an end record is an error at the other end, and not io.EOF.
func TestEndsThatAreNone(t *testing.T) {
	ping := make([]byte, 8)
	const body = "0123456789abcdef"
	const garbage = "\x00\x1fGET / HTTP/1.1\r\nHost: nowhere\r\n"
	for name, c := range map[string]struct {
		end  func(f *Flow)
		want error
	}{
		"reset":      {func(f *Flow) { _ = f.Reset() }, ErrReset},
		"protocol":   {func(f *Flow) { f.abort(abortProtocol, ErrProtocol) }, ErrProtocol},
		"busy":       {func(f *Flow) { f.abort(abortBusy, ErrBusy) }, ErrBusy},
		"going away": {func(f *Flow) { f.abort(abortGoingAway, ErrGoingAway) }, ErrGoingAway},
		"trust":      {func(f *Flow) { f.abort(abortNotTrusted, ErrClosed) }, ErrRefusedByPeer},
		"closed":     {func(f *Flow) { _ = linkOf(f).Conn.Close() }, ErrCut},
		"rst":        {func(f *Flow) { _ = netio.Reset(linkOf(f).Conn) }, ErrCut},
		"fin":        {func(f *Flow) { _ = linkOf(f).Conn.(netio.Conn).CloseWrite() }, ErrCut},
		"odd end":    {func(f *Flow) { _ = f.sendRecordLocked(typeEnd, 1) }, ErrProtocol},
		"no abort":   {func(f *Flow) { _ = f.sendRecordLocked(typeAbort) }, ErrProtocol},
		"ping":       {func(f *Flow) { _ = f.sendRecordLocked(typePing, ping...) }, ErrProtocol},
		"type 99":    {func(f *Flow) { _ = f.sendRecordLocked(99) }, ErrProtocol},
		"garbage":    {func(f *Flow) { write(t, linkOf(f), garbage) }, ErrForged},
		"too short":  {func(f *Flow) { write(t, linkOf(f), "\x00\x10"+body) }, ErrForged},
	} {
		for _, way := range []string{"Read", "WriteTo", "ReadLazy"} {
			t.Run(name+" "+way, func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, l *lab) {
					flows := l.accepted()
					f, a := l.both(l.session(), flows)
					defer a.release()
					write(t, f, "before")
					c.end(f)
					var got bytes.Buffer
					err := drainBy(way, a.Flow, &got)
					wantErr(t, err, c.want)
					wantNoEOF(t, err)
					if got.String() != "before" {
						t.Errorf("read %q", &got)
					}
					_, again := a.Read(make([]byte, 1))
					wantErr(t, again, c.want)
					wantErr(t, a.Err(), c.want)
					_, err = a.Write([]byte("x"))
					wantNoEOF(t, err)
				})
			})
		}
	}
}

// drainBy reads f to its end in one of its ways.
func drainBy(way string, f *Flow, w io.Writer) error {
	switch way {
	case "WriteTo":
		if _, err := f.WriteTo(w); err != nil {
			return err
		}
		return io.EOF
	case "ReadLazy":
		var room netio.PooledRoom
		defer room.Release()
		for {
			n, err := f.ReadLazy(&room)
			if err != nil {
				return err
			}
			if _, err := w.Write(room.Filled(n)); err != nil {
				return err
			}
		}
	}
	_, err := io.Copy(w, struct{ io.Reader }{f})
	if err == nil {
		err = io.EOF
	}
	return err
}

func TestHandlerThatReturnsResets(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.handle = func(context.Context, *Flow) {}
		f := l.open(l.session())
		write(t, f, "x")
		_, err := io.ReadAll(f)
		wantErr(t, err, ErrReset)
	})
}

// A handler that leaves a reader behind does not give it memory that belongs to somebody else by
// then.
func TestHandlerLeavesReaderBehind(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		var left sync.WaitGroup
		l.handle = func(_ context.Context, f *Flow) {
			reading := make(chan struct{})
			left.Go(func() {
				_, err := f.WriteTo(writerFunc(func(p []byte) (int, error) {
					want := append([]byte(nil), p...)
					close(reading)
					time.Sleep(time.Hour)
					if !bytes.Equal(p, want) {
						t.Error("the memory was given away")
					}
					return len(p), nil
				}))
				wantNoEOF(t, err)
			})
			<-reading
		}
		s := l.session()
		f := l.open(s)
		write(t, f, "mine")
		_, err := io.ReadAll(f)
		wantErr(t, err, ErrReset)
		l.waitServed(1)
		for range 20 {
			b := netio.GetBuffer(netio.Small)
			for i := range b.Bytes {
				b.Bytes[i] = 0xee
			}
		}
		left.Wait()
	})
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

func TestDeadlines(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		f, a := l.both(l.session(), flows)
		defer a.release()
		_ = f.SetReadDeadline(time.Now().Add(time.Second))
		_, err := f.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		_ = f.SetReadDeadline(time.Time{})
		write(t, a, "alive")
		expect(t, f, "alive")
		_ = f.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = f.Write(make([]byte, 1<<20))
		wantErr(t, err, os.ErrDeadlineExceeded)
		_, err = f.Write([]byte("x"))
		wantErr(t, err, os.ErrDeadlineExceeded)
		wantErr(t, f.Err(), os.ErrDeadlineExceeded)
		_, err = io.Copy(io.Discard, a)
		wantErr(t, err, ErrCut)
	})
}

// A deadline in the middle of a record loses nothing.
func TestReadDeadlineWithinRecord(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		plan := faultnet.Plan{{
			Kind: faultnet.Delay, Dir: faultnet.ServerToClient,
			Unit: faultnet.Byte, At: 60, For: 3 * time.Second,
		}}
		f := l.open(l.sessionWith(&plan))
		data := pattern(100)
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		_ = f.SetReadDeadline(time.Now().Add(time.Second))
		_, err := f.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		_ = f.SetReadDeadline(time.Time{})
		expect(t, f, string(data))
		_ = f.Close()
	})
}

// ETIMEDOUT calls itself a timeout, but says that the link is dead.
func TestDeadLinkIsNoDeadline(t *testing.T) {
	if isTimeout(&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}) {
		t.Error("ETIMEDOUT counts as a deadline")
	}
	if !isTimeout(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}) {
		t.Error("a deadline does not count as one")
	}
}

// The deadline that Close sets for its last record does not stay on a link that goes to the next
// flow.
func TestCloseLeavesNoDeadlineOnTheLink(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.handle = func(_ context.Context, f *Flow) {
			if _, err := io.Copy(f, f); err == nil {
				_ = f.Close()
			}
		}
		s := l.session()
		for range 3 {
			f := l.open(s)
			time.Sleep(3 * time.Second)
			if err := transfer(t, f, []byte("again"), 5); err != nil {
				t.Fatal(err)
			}
		}
		flows := l.accepted()
		f, a := l.both(s, flows)
		_ = a.CloseWrite()
		expectEnd(t, f)
		_ = f.Close() // the initiator's end is the last
		expectEnd(t, a)
		a.release()
		time.Sleep(3 * time.Second)
		f, a = l.both(s, flows)
		write(t, f, "late")
		expect(t, a, "late")
		a.release()
		if l.dialed != 2 {
			t.Errorf("%d links, want 2", l.dialed)
		}
	})
}

func TestWriteNothingIntroduces(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.handle = func(_ context.Context, f *Flow) {
			write(t, f, "the server speaks first")
			_, _ = io.Copy(io.Discard, f)
			_ = f.CloseWrite()
		}
		f := l.open(l.session())
		for range 2 {
			if _, err := f.Write(nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		expect(t, f, "the server speaks first")
		_ = f.CloseWrite()
		expectEnd(t, f)
	})
}

// A link whose far end has said more than the flow is not used again.
func TestUncleanLinkIsNotReused(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		f, a := l.both(s, flows)
		defer a.release()
		_ = f.CloseWrite()
		expectEnd(t, a)
		write(t, linkOf(a.Flow).Conn, string(sealed(t, &a.sending.cipher, typeEnd, nil))+"extra")
		expectEnd(t, f)
		if n, m := s.idleLinks(), s.openLinks(); n != 0 || m != 0 {
			t.Errorf("%d idle links, %d links, want none", n, m)
		}
	})
}

// sealed returns a record.
func sealed(t testing.TB, c *cipherHalf, typ recordType, data []byte) []byte {
	t.Helper()
	b := make([]byte, len(data)+overhead)
	copy(b[dataOffset:], data)
	if _, err := c.seal(b, typ, len(data)); err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *Session) idleLinks() int {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return len(s.pool.idle)
}

func (s *Session) openLinks() int {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return len(s.pool.links)
}

func TestFlowsReuseOneLink(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		for i := range 100 {
			if err := transfer(t, l.open(s), pattern(i*50), 1000); err != nil {
				t.Fatal(err)
			}
		}
		if l.dialed != 2 {
			t.Errorf("%d links, want the control link and one more", l.dialed)
		}
		var open []*Flow
		for range 3 * linkIdleKept {
			open = append(open, l.open(s))
		}
		for _, f := range open {
			if err := transfer(t, f, pattern(10), 1000); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * linkIdleTimeout)
		if n := s.openLinks(); n != linkIdleKept {
			t.Errorf("%d links stay for good, want %d", n, linkIdleKept)
		}
		l.waitServed(2 * linkIdleKept)
		dialed := l.dialed
		time.Sleep(time.Hour)
		if err := transfer(t, l.open(s), pattern(10), 1000); err != nil || l.dialed != dialed {
			t.Errorf("a late flow: %v, after %d dials", err, l.dialed-dialed)
		}
	})
}

func TestManyFlows(t *testing.T) {
	const flows = 1000
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		var tasks sync.WaitGroup
		for i := range flows {
			tasks.Go(func() {
				f, err := s.Open(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				if err := transfer(t, f, fmt.Appendf(nil, "flow %d", i), 3); err != nil {
					t.Error(err)
				}
			})
		}
		tasks.Wait()
		if n := s.idleLinks(); n > linkIdleMax {
			t.Errorf("%d idle links", n)
		}
	})
}

// Everything at once on one flow: for the race detector, and nothing may hang.
func TestEverythingAtOnce(t *testing.T) {
	ends := map[string]func(*Flow){
		"close": func(f *Flow) { _ = f.Close() },
		"reset": func(f *Flow) { _ = f.Reset() },
		"both": func(f *Flow) {
			var g sync.WaitGroup
			g.Go(func() { _ = f.Close() })
			_ = f.Reset()
			g.Wait()
		},
		"session": func(f *Flow) { _ = f.Session().Close() },
		"end":     func(f *Flow) { _ = f.CloseWrite(); _ = f.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			for i := range 5 {
				l := newLab(t, unhurried)
				s := l.session()
				f := l.open(s)
				var tasks sync.WaitGroup
				for range 2 {
					for _, work := range works {
						tasks.Go(func() { work(f) })
					}
				}
				for range i * 200 {
					runtime.Gosched()
				}
				end(f)
				tasks.Wait()
				l.close()
			}
		})
	}
}

var works = []func(*Flow){
	func(f *Flow) {
		for err := error(nil); err == nil; {
			_, err = f.Write(pattern(3000))
		}
	},
	func(f *Flow) { _, _ = f.ReadFrom(endless{}) },
	func(f *Flow) { _, _ = f.WriteTo(io.Discard) },
	func(f *Flow) {
		for err := error(nil); err == nil; {
			_, err = f.Read(make([]byte, 100))
		}
	},
	func(f *Flow) {
		for range 100 {
			_ = f.SetDeadline(time.Now().Add(time.Hour))
			_ = f.Err()
			_ = f.Quiet()
		}
	},
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// The keys of both directions change every 2^16 records, and nobody notices.
func TestRatchet(t *testing.T) {
	l := newLab(t, unhurried)
	defer l.close()
	flows := l.accepted()
	f, a := l.both(l.session(), flows)
	defer a.release()
	for _, way := range [][2]*Flow{{f, a.Flow}, {a.Flow, f}} {
		from, to := way[0], way[1]
		before := from.sending.cipher.count
		done := make(chan error)
		go func() {
			var b [1]byte
			for i := range rekeyAfter + 10 {
				if _, err := io.ReadFull(to, b[:]); err != nil || b[0] != byte(i) {
					done <- fmt.Errorf("record %d: %d, %v", i, b[0], err)
					return
				}
			}
			done <- nil
		}()
		for i := range rekeyAfter + 10 {
			if _, err := from.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, want := from.sending.cipher.count, before+10; got != want {
			t.Errorf("%d records since the last change of keys, want %d", got, want)
		}
	}
}

// Who has not changed keys cannot read on.
func TestRatchetChangesKeys(t *testing.T) {
	l := newLab(t, nil)
	defer l.close()
	s := l.session()
	send, _ := s.keys.current.keys(identity.Initiator, 1<<50)
	_, receive := s.keys.current.keys(identity.Responder, 1<<50)
	receive.count = 1 // and so will not change in time
	for i := range rekeyAfter {
		if _, _, err := receive.open(sealed(t, &send, typeData, nil)[lengthSize:]); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		receive.count = 1
	}
	_, _, err := receive.open(sealed(t, &send, typeData, nil)[lengthSize:])
	wantErr(t, err, ErrForged)
}

// counter counts the bytes written to a link.
type counter struct {
	*faultnet.Conn
	mu    sync.Mutex
	bytes int
	calls int
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.bytes += len(p)
	c.calls++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *counter) take() (bytes, calls int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bytes, calls = c.bytes, c.calls
	c.bytes, c.calls = 0, 0
	return bytes, calls
}

// countingDial dials links that count.
func (l *lab) countingDial(last **counter) func(context.Context) (Conn, error) {
	return func(context.Context) (Conn, error) {
		client, server := l.pipe()
		l.serve(server)
		*last = &counter{Conn: client}
		return *last, nil
	}
}

func TestOverhead(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.handle = func(_ context.Context, f *Flow) { _, _ = io.Copy(io.Discard, f) }
		var link *counter
		s, err := l.initiator.Initiate(context.Background(), "", trust.As{}, l.countingDial(&link))
		if err != nil {
			t.Fatal(err)
		}
		f := l.open(s)
		write(t, f, "x")
		if n, calls := link.take(); n != flowHelloSize+overhead+1 || calls != 1 {
			t.Errorf("hello and a byte: %d bytes in %d writes", n, calls)
		}
		for _, size := range []int{1, 1000, maxFirst, maxData} {
			write(t, f, string(pattern(size)))
			if n, calls := link.take(); n != size+19 || calls != 1 {
				t.Errorf("%d bytes became %d in %d writes, want %d in one", size, n, calls, size+19)
			}
		}
		write(t, f, string(pattern(3*maxData)))
		if n, calls := link.take(); n != 3*(maxData+19) || calls != 1 {
			t.Errorf("three full records: %d bytes in %d writes", n, calls)
		}
		_ = f.Close()
		f = l.open(s)
		write(t, f, string(pattern(3*maxFirst)))
		if n, calls := link.take(); n != flowHelloSize+3*maxFirst+2*19 || calls != 1 {
			t.Errorf("hello and 12 KiB: %d bytes in %d writes", n, calls)
		}
		_ = f.Close()
	})
}

// A channel in a channel in a channel: each costs 19 bytes a message.
func TestNested(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		var link *counter
		var dials [3]int
		var sessions []*Session
		dial := l.countingDial(&link)
		l.handle = func(ctx context.Context, f *Flow) {
			if f.Session().keys.name == "inner" {
				echo(ctx, f)
				return
			}
			err := l.responder.Serve(ctx, f, l.accept, func() {}, l.handle)
			isOf := func(target error) bool { return errors.Is(err, target) }
			over := []error{ErrCut, ErrReset, ErrClosed, ErrGoingAway}
			if err != nil && !slices.ContainsFunc(over, isOf) {
				t.Error(err)
			}
		}
		for depth, name := range []string{"outer", "middle", "inner"} {
			below := dial
			counted := func(ctx context.Context) (Conn, error) {
				dials[depth]++
				return below(ctx)
			}
			s, err := l.initiator.Initiate(context.Background(), name, trust.As{}, counted)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
			dial = func(ctx context.Context) (Conn, error) { return s.Open(ctx) }
		}
		f := l.open(sessions[2])
		write(t, f, "first")
		expect(t, f, "first")
		link.take()
		data := string(pattern(1000))
		write(t, f, data)
		if n, _ := link.take(); n != 1000+3*19 {
			t.Errorf("1000 bytes became %d at the bottom of three channels", n)
		}
		expect(t, f, data)
		_ = f.CloseWrite()
		expectEnd(t, f)
		before := dials
		for range 5 {
			if err := transfer(t, l.open(sessions[2]), pattern(100<<10), 10<<10); err != nil {
				t.Error(err)
			}
		}
		if dials != before {
			t.Errorf("later flows dialed: %v, before %v", dials, before)
		}
		for i := range sessions {
			_ = sessions[len(sessions)-1-i].Close()
		}
	})
}
