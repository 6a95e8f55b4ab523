package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// pair returns the sides of a mux on a pipe. All that they do has ended when the test ends.
func pair(t testing.TB) (opener, acceptor *Mux) {
	t.Helper()
	here, there := faultnet.Pipe()
	return side(t, here, NewOpener, Config{}), side(t, there, NewAcceptor, Config{})
}

type maker func(Carrier, Config) (*Mux, error)

// side returns one side, made by NewOpener or NewAcceptor.
func side(t testing.TB, carrier Carrier, make maker, config Config) *Mux {
	t.Helper()
	var tasks sync.WaitGroup
	config.Run = func(f func()) bool {
		tasks.Go(f)
		return true
	}
	m, err := make(carrier, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.Close()
		tasks.Wait()
	})
	return m
}

// link returns the ends of a new link.
func link(t testing.TB, opener, acceptor *Mux) (near, far *Link) {
	t.Helper()
	near, err := opener.Open()
	if err != nil {
		t.Fatal(err)
	}
	far, err = acceptor.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// expectEnd fails the test unless m has ended for a fault of the other side, or is open.
func expectEnd(t *testing.T, m *Mux, ended bool, fault error) {
	t.Helper()
	closed := false
	select {
	case <-m.Done():
		closed = true
	default:
	}
	if !ended {
		fault = nil
	}
	if closed != ended || !errors.Is(m.Err(), fault) {
		t.Errorf("the mux is closed: %v, %v; want %v, %v", closed, m.Err(), ended, fault)
	}
}

// TestBytes sends bytes both ways on many links at once, in pieces of all sizes, and ends each
// direction on its own.
func TestBytes(t *testing.T) {
	opener, acceptor := pair(t)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for i := range 16 {
		near, far := link(t, opener, acceptor)
		up, down := content(uint64(i), 1<<20), content(uint64(i)+100, 1<<19)
		for _, end := range []struct {
			l          *Link
			sends, got []byte
		}{{near, up, down}, {far, down, up}} {
			tasks.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for rest := end.sends; len(rest) > 0; {
					n := min(len(rest), 1+random.IntN(100_000))
					if _, err := end.l.Write(rest[:n]); err != nil {
						t.Error(err)
					}
					rest = rest[n:]
				}
				if err := end.l.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			tasks.Go(func() {
				got, err := io.ReadAll(end.l)
				if !bytes.Equal(got, end.got) || err != nil {
					t.Errorf("link %d: %d bytes, want %d: %v", i, len(got), len(end.got), err)
				}
			})
		}
	}
}

// content returns n bytes that depend on seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(b)
	return b
}

func TestHalfCloseStays(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		opener, acceptor := pair(t)
		near, far := link(t, opener, acceptor)
		_ = near.CloseWrite()
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v", err)
		}
		time.Sleep(24 * time.Hour)
		if _, err := far.Write([]byte("late")); err != nil {
			t.Error(err)
		}
		_ = far.CloseWrite()
		if got, err := io.ReadAll(near); string(got) != "late" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after the end: %v", err)
		}
		synctest.Wait()
		if n := len(opener.links) + len(acceptor.links); n != 0 {
			t.Errorf("%d ends of links are left", n)
		}
	})
}

// TestReset checks that a reset is told from an end, behind what has come before it.
func TestReset(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		opener, acceptor := pair(t)
		near, far := link(t, opener, acceptor)
		_, _ = near.Write([]byte("before"))
		if err := netio.Reset(near); err != nil {
			t.Error(err)
		}
		if !near.mayReceive(maxData) {
			t.Error("what was under way when a link was reset ends the mux")
		}
		synctest.Wait()
		got, err := io.ReadAll(far)
		if string(got) != "before" || !netio.IsReset(err) {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := far.Write([]byte("x")); !netio.IsReset(err) {
			t.Errorf("a write gets %v", err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("who has reset it gets %v", err)
		}
		if near.Quiet() || far.Quiet() {
			t.Error("it is quiet")
		}
	})
}

// TestAwaitReset checks that who waits after the other side's end is told of a reset, and of
// nothing when its own side has ended as well.
func TestAwaitReset(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(near, far *Link)
		want error // nil is none
	}{
		"reset":      {func(near, _ *Link) { _ = near.Reset() }, syscall.ECONNRESET},
		"own end":    {func(_, far *Link) { _ = far.CloseWrite() }, nil},
		"own close":  {func(_, far *Link) { _ = far.Close() }, net.ErrClosed},
		"end of mux": {func(near, _ *Link) { _ = near.mux.Close() }, errEnded},
		"a deadline": {
			func(_, far *Link) { _ = far.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, func(t *testing.T) {
				opener, acceptor := pair(t)
				near, far := link(t, opener, acceptor)
				_ = near.CloseWrite()
				if _, err := far.Read(make([]byte, 1)); err != io.EOF {
					t.Fatal(err)
				}
				told := make(chan error, 1)
				go func() { told <- far.AwaitReset() }()
				synctest.Wait()
				test.do(near, far)
				if err := <-told; !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestDeadlines(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		opener, acceptor := pair(t)
		near, far := link(t, opener, acceptor)
		begin := time.Now()
		_ = near.SetReadDeadline(begin.Add(time.Minute))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) ||
			time.Since(begin) != time.Minute {
			t.Errorf("a read gets %v after %v", err, time.Since(begin))
		}
		_ = near.SetReadDeadline(time.Time{})
		_ = near.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := near.Write(make([]byte, 2*firstWindow))
		if n != firstWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write of what nobody reads: %d, %v", n, err)
		}
		_ = near.SetWriteDeadline(time.Time{})
		_, _ = far.Write([]byte("x"))
		if got := make([]byte, 1); true {
			if _, err := near.Read(got); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestAcceptAfterTheEnd checks that what has come before the mux ended is not lost.
func TestAcceptAfterTheEnd(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		opener, acceptor := pair(t)
		near, err := opener.Open()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = near.Write([]byte("last"))
		_ = opener.Close()
		synctest.Wait()
		far, err := acceptor.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(far); string(got) != "last" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := acceptor.Accept(); !errors.Is(err, errEnded) {
			t.Errorf("another: %v", err)
		}
	})
}

// TestFinish checks that what has been written before arrives, and then the end.
func TestFinish(t *testing.T) {
	opener, acceptor := pair(t)
	near, far := link(t, opener, acceptor)
	want := content(1, firstWindow)
	if _, err := far.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := acceptor.Finish(); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(near)
	if !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	testkit.Within(t, opener.Done(), "the end of the other side's mux")
	expectEnd(t, opener, true, nil)
}

// TestWindowsGrow checks that a reader who keeps up has the sender send more at once, and gives it
// back when nothing is left.
func TestWindowsGrow(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		budget := NewBudget(8 << 20)
		const oneWay = 50 * time.Millisecond
		a, b, line := faultnet.FaultyPipe(faultnet.Config{Plan: faultnet.Line(oneWay, 0)})
		defer line.Close()
		opener, acceptor := side(
			t,
			a,
			NewOpener,
			Config{Budget: budget},
		), side(
			t,
			b,
			NewAcceptor,
			Config{},
		)
		near, far := link(t, opener, acceptor)
		sent := make(chan error, 1)
		go func() {
			_, err := far.Write(make([]byte, 64<<20))
			_ = far.CloseWrite()
			sent <- err
		}()
		begin := time.Now()
		n, err := io.Copy(io.Discard, near)
		if n != 64<<20 || err != nil || <-sent != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if least := 64 << 20 / firstWindow * 2 * oneWay / 4; time.Since(begin) > least {
			t.Errorf("it took %v: the window does not grow", time.Since(begin))
		}
		if budget.taken.Load() != 0 {
			t.Errorf("%d bytes of the budget are not given back", budget.taken.Load())
		}
	})
}

// TestBudget checks that readers who first read and then do not have no more kept for them than the
// budget and the first windows.
func TestBudget(t *testing.T) {
	const links, most = 20, 2 << 20
	budget := NewBudget(most)
	here, there := faultnet.Pipe()
	opener, acceptor := side(
		t,
		here,
		NewOpener,
		Config{Budget: budget},
	), side(
		t,
		there,
		NewAcceptor,
		Config{},
	)
	var tasks sync.WaitGroup
	var nears []*Link
	for range links {
		near, far := link(t, opener, acceptor)
		nears = append(nears, near)
		tasks.Go(func() { _, _ = far.Write(make([]byte, 64<<20)) })
		if _, err := io.CopyN(io.Discard, near, 4<<20); err != nil { // it keeps up
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "all that fits has come", func() bool {
		for _, l := range nears {
			l.mu.Lock()
			left := l.window.left
			l.mu.Unlock()
			if left > 0 {
				return false
			}
		}
		return true
	})
	kept := 0
	for _, l := range nears {
		l.mu.Lock()
		kept += l.in.size
		l.mu.Unlock()
	}
	if kept > most+links*firstWindow || budget.taken.Load() > most {
		t.Errorf("%d bytes are kept, %d by the budget", kept, budget.taken.Load())
	}
	for _, l := range nears {
		_ = l.Reset()
	}
	tasks.Wait()
	if budget.taken.Load() != 0 {
		t.Errorf("%d bytes of the budget are not given back", budget.taken.Load())
	}
}

// TestBudgetIsNoDeadlock checks that all links go on where there is no budget at all.
func TestBudgetIsNoDeadlock(t *testing.T) {
	here, there := faultnet.Pipe()
	opener := side(t, here, NewOpener, Config{Budget: NewBudget(0)})
	acceptor := side(t, there, NewAcceptor, Config{Budget: NewBudget(0)})
	near, far := link(t, opener, acceptor)
	go func() {
		_, _ = far.Write(make([]byte, 4<<20))
		_ = far.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, near); n != 4<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Pings are counted wherever reads cut the frames, and not those in data.
func TestPingLimit(t *testing.T) {
	ping := header{kind: typePing, flags: flagSYN, length: 7}.append(nil)
	data := header{kind: typeData, link: 1, length: 2 * headerSize}.append(nil)
	data = append(append(data, ping...), ping...)
	for step := 1; step < 40; step++ {
		testkit.Bubble(t, func(t *testing.T) {
			here, there := faultnet.Pipe()
			defer there.Close()
			m := side(t, here, NewOpener, Config{})
			go func() { _, _ = io.Copy(io.Discard, there) }()
			near, err := m.Open()
			if err != nil {
				t.Fatal(err)
			}
			in := input{mux: m}
			feed := func(b []byte) (err error) {
				for len(b) > 0 && err == nil {
					n := min(step, len(b))
					err = in.feed(b[:n])
					b = b[n:]
				}
				return err
			}
			for range 100 {
				if err := feed(data); err != nil {
					t.Fatalf("data, %d at a time: %v", step, err)
				}
			}
			_ = near.Close()
			for range 3 { // and again after a while
				if err := feed(bytes.Repeat(ping, pingsAtOnce)); err != nil {
					t.Fatalf("pings, %d at a time: %v", step, err)
				}
				time.Sleep(time.Second)
			}
			if err := feed(bytes.Repeat(ping, pingsAtOnce+1)); err != errPings {
				t.Errorf("too many pings, %d at a time: %v", step, err)
			}
		})
	}
}

// A mux ends whose other side sends more pings than anybody needs.
func TestPingsInMux(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		here, there := faultnet.Pipe()
		defer there.Close()
		opener := side(t, here, NewOpener, Config{})
		ping := header{kind: typePing, flags: flagSYN, length: 7}.append(nil)
		for range 3 {
			for range pingsAtOnce {
				_, _ = there.Write(ping)
			}
			answers := make([]byte, pingsAtOnce*headerSize)
			if _, err := io.ReadFull(there, answers); err != nil || answers[3] != flagACK {
				t.Errorf("the answers are %x, %v", answers, err)
			}
			expectEnd(t, opener, false, nil)
			time.Sleep(time.Second)
		}
		for range pingsAtOnce + 1 {
			_, _ = there.Write(ping)
		}
		synctest.Wait()
		expectEnd(t, opener, true, errPings)
	})
}

// A link is reset that is one too many of those that are closed here and not by the other side, and
// has had its time.
func TestUnendedLinks(t *testing.T) {
	for _, unended := range []int{maxUnended, maxUnended + 1} {
		testkit.Bubble(t, func(t *testing.T) {
			opener, acceptor := pair(t)
			var fars []*Link
			for range unended {
				near, far := link(t, opener, acceptor)
				fars = append(fars, far)
				_ = near.Close()
			}
			time.Sleep(3 * unendedFor)
			expectEnd(t, opener, false, nil)
			resets := 0
			for _, far := range fars {
				_ = far.SetReadDeadline(time.Unix(1, 0))
				if err := far.AwaitReset(); netio.IsReset(err) {
					resets++
				}
			}
			if want := unended - maxUnended; resets != want {
				t.Errorf("of %d links %d are reset, want %d", unended, resets, want)
			}
		})
	}
}

// What comes on a closed link is thrown away, however much, and whoever read from it is told.
func TestClosedMuxLink(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		opener, acceptor := pair(t)
		near, far := link(t, opener, acceptor)
		read := make(chan error, 1)
		go func() {
			_, err := near.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		_ = near.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("who read gets %v", err)
		}
		if n, err := far.Write(make([]byte, 10<<20)); err != nil {
			t.Errorf("%d bytes of 10 MiB were taken: %v", n, err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("who reads gets %v", err)
		}
		_ = far.Close()
		synctest.Wait()
		if n := len(opener.links) + len(acceptor.links); n != 0 {
			t.Errorf("%d ends of links are left", n)
		}
	})
}

// A mux ends in which nothing is taken, and not one that waits for nothing.
func TestUntakenLinks(t *testing.T) {
	for name, opens := range map[string]int{"idle": 1, "jammed": backlog + 1} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, func(t *testing.T) {
				opener, _ := pair(t)
				for range opens {
					go func() {
						if l, err := opener.Open(); err == nil {
							_ = l.Close()
						}
					}()
				}
				time.Sleep(3 * untakenAfter)
				expectEnd(t, opener, opens > backlog, errUntaken)
			})
		})
	}
}

// Links beyond the backlog are reset, as are those that a side has said it does not take.
func TestRefusedLinks(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		opener, acceptor := pair(t)
		if err := opener.AcceptNone(); err != nil {
			t.Error(err)
		}
		early, err := acceptor.Open() // it may not know yet
		if err == nil {
			synctest.Wait()
			if err := early.AwaitReset(); !netio.IsReset(err) {
				t.Errorf("a link that is not taken gets %v", err)
			}
		}
		if _, err := acceptor.Open(); !errors.Is(err, ErrAcceptsNone) {
			t.Errorf("another gets %v", err)
		}
		if len(acceptor.slots) != 0 {
			t.Errorf("%d links wait to be taken", len(acceptor.slots))
		}
	})
}

// Who reads nothing and goes on asking has the mux end, whatever it is that he asks for, before
// what he is owed has grown.
func TestOwed(t *testing.T) {
	for name, ask := range map[string]func(link uint32) []byte{
		"links that are none": func(link uint32) []byte {
			return header{kind: typeWindow, flags: flagSYN | flagRST, link: link}.append(nil)
		},
		"links for which there is no room": func(link uint32) []byte {
			return header{kind: typeWindow, flags: flagSYN, link: link}.append(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, func(t *testing.T) {
				here, there := faultnet.PipeSize(1)
				defer there.Close()
				m := side(t, here, NewAcceptor, Config{})
				for link := uint32(1); link < 1<<16; link += 2 {
					if _, err := there.Write(ask(link)); err != nil {
						break
					}
					if owed := m.out.owes(); owed > owedAtOnce+backlog*owedForLink+headerSize {
						t.Fatalf("%d bytes are owed", owed)
					}
				}
				synctest.Wait()
				expectEnd(t, m, true, errOwed)
			})
		})
	}
}

// Many links that all say something while the carrier is taken for nothing are no fault.
func TestOwedToMany(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		here, there := faultnet.PipeSize(1)
		opener := side(t, here, NewOpener, Config{})
		const many = 3 * owedAtOnce / headerSize
		for range many {
			opener.mu.Lock()
			l := newLink(opener, opener.next)
			opener.next += 2
			opener.addLocked(l)
			opener.mu.Unlock()
			opener.out.enqueue(header{kind: typeWindow, flags: flagFIN, link: l.id})
		}
		_, _ = there.Write(header{kind: typeWindow, link: 1, length: 1}.append(nil))
		synctest.Wait()
		expectEnd(t, opener, false, nil)
		_ = there.Close()
	})
}

// A carrier that takes nothing for a minute ends the mux, and nobody hangs.
func TestUnreadCarrier(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		here, there := faultnet.PipeSize(1)
		defer there.Close()
		opener := side(t, here, NewOpener, Config{})
		failed := make(chan error, 2)
		for range 2 {
			go func() {
				l, err := opener.Open()
				if err == nil {
					_, err = l.Write([]byte("x"))
				}
				failed <- err
			}()
		}
		for range 2 {
			if err := <-failed; err == nil {
				t.Error("it was written")
			}
		}
		expectEnd(t, opener, true, errUnread)
	})
}

// TestBadFrames checks that what is no mux ends it, and names it.
func TestBadFrames(t *testing.T) {
	syn := header{kind: typeWindow, flags: flagSYN, link: 2}.append(nil)
	opened := func() []byte { return bytes.Clone(syn) }
	for name, b := range map[string][]byte{
		"version":           {1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		"type":              {0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		"data for no link":  {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		"ping for a link":   {0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0},
		"our own number":    header{kind: typeWindow, flags: flagSYN, link: 1}.append(nil),
		"twice":             append(bytes.Clone(syn), syn...),
		"over the window":   header{kind: typeData, link: 2, length: firstWindow + 1}.append(opened()),
		"a window too wide": header{kind: typeWindow, link: 2, length: maxSendWindow}.append(opened()),
		"data after the end": append(header{kind: typeData, link: 2, length: 1}.append(
			header{kind: typeWindow, flags: flagFIN, link: 2}.append(opened())), 0),
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, func(t *testing.T) {
				here, there := faultnet.Pipe()
				defer there.Close()
				opener := side(t, here, NewOpener, Config{})
				_, _ = there.Write(b)
				synctest.Wait()
				expectEnd(t, opener, true, errProtocol)
			})
		})
	}
}

// FuzzInput feeds a mux what any other side may send, cut anywhere.
func FuzzInput(f *testing.F) {
	syn := header{kind: typeWindow, flags: flagSYN, link: 2}.append(nil)
	f.Add(
		append(header{kind: typeData, link: 2, length: 3}.append(bytes.Clone(syn)), "abc"...),
		uint8(5),
	)
	f.Add(header{kind: typeWindow, flags: flagRST, link: 1}.append(nil), uint8(1))
	f.Add(
		header{kind: typeGoAway}.append(header{kind: typePing, flags: flagSYN}.append(nil)),
		uint8(13),
	)
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		here, there := faultnet.Pipe()
		defer there.Close()
		m := side(t, here, NewOpener, Config{})
		go func() { _, _ = io.Copy(io.Discard, there) }()
		l, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		in := input{mux: m}
		for len(b) > 0 && err == nil {
			n := min(len(b), int(step)+1)
			err = in.feed(b[:n])
			b = b[n:]
		}
		_ = l.Close()
		if used := m.own.taken.Load(); used < 0 {
			t.Errorf("the budget is %d", used)
		}
	})
}

func ExampleMux() {
	here, there := faultnet.Pipe()
	var tasks sync.WaitGroup
	run := func(f func()) bool { tasks.Go(f); return true }
	opener, _ := NewOpener(here, Config{Run: run})
	acceptor, _ := NewAcceptor(there, Config{Run: run})
	near, _ := opener.Open()
	_, _ = near.Write([]byte("hello"))
	_ = near.CloseWrite()
	far, _ := acceptor.Accept()
	text, _ := io.ReadAll(far)
	fmt.Printf("%s\n", text)
	_ = opener.Close()
	_ = acceptor.Close()
	tasks.Wait()
	// Output: hello
}
