package channel

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// A responder that has answered, and is gone while the initiator still sends, has said its answer:
// neither its reset nor the initiator's failing writes take it back.
func TestAnswerBeforeReset(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		f, a := l.both(l.session(), flows)
		sent := make(chan error, 1)
		go func() {
			for {
				if _, err := f.Write(pattern(100_000)); err != nil {
					sent <- err
					return
				}
			}
		}()
		answer := pattern(20_000)
		write(t, a, string(answer))
		go func() {
			a.ResetDelivered(testkit.Patience)
			a.release()
		}()
		expect(t, f, string(answer))
		_, err := f.Read(make([]byte, 1))
		wantErr(t, err, ErrReset)
		if err := <-sent; !errors.Is(err, ErrReset) && !errors.Is(err, ErrCut) {
			t.Errorf("writing: %v", err)
		}
	})
}

// What has come when a write fails is still there for a reader.
func TestFailedWriteLeavesWhatHasCome(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		f, a := l.both(l.session(), flows)
		write(t, a, "the answer")
		a.ResetDelivered(0)
		a.release()
		for {
			if _, err := f.Write(pattern(100_000)); err != nil {
				break
			}
		}
		expect(t, f, "the answer")
		_, err := f.Read(make([]byte, 1))
		wantErr(t, err, ErrReset)
	})
}

// A side that has ended its direction, and then resets a flow that the other end is ending, leaves
// the link clean: the other end may have begun the next flow on it.
func TestResetOfWhatEndsLeavesTheLinkClean(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		f, a := l.both(s, flows)
		write(t, a, "the answer")
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resets := make(chan struct{})
		go func() {
			defer close(resets)
			a.ResetDelivered(testkit.Patience)
			a.release()
		}()
		expect(t, f, "the answer")
		expectEnd(t, f)
		for range 5 { // what is thrown away comes without a long pause
			write(t, f, string(pattern(10_000)))
			time.Sleep(lingerQuiet / 2)
		}
		first := linkOf(f)
		if err := f.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-resets
		f, a = l.both(s, flows)
		if linkOf(f) != first {
			t.Error("the next flow is on another link")
		}
		write(t, f, "next")
		expect(t, a, "next")
		a.release()
	})
}

// An other end that says nothing is reset soon, and one that goes on sending in a while, or when it
// has said that it has all.
func TestResetOfWhatDoesNotEnd(t *testing.T) {
	const wait = 2 * time.Second
	for name, test := range map[string]struct {
		pause, took time.Duration
		change      func(a, b *Config)
	}{
		"quiet":               {wait, lingerQuiet, nil},
		"sending":             {lingerQuiet / 2, wait, nil},
		"sending, it has all": {lingerQuiet / 2, lingerQuiet, surviving},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, test.change, func(t *testing.T, l *lab) {
				flows := l.accepted()
				f, a := l.both(l.session(), flows)
				if err := a.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				expectEnd(t, f)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for time.Sleep(test.pause); f.isOpen(); time.Sleep(test.pause) {
						_, _ = f.Write([]byte("x"))
					}
				}()
				began := time.Now()
				a.ResetDelivered(wait)
				if took := time.Since(began); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				a.release()
				if err := f.AwaitReset(); err == nil {
					t.Error("the initiator was not reset")
				}
				<-sent
			})
		})
	}
}

// TestReportToWhoHasClosed has the responder report on a link that the initiator has closed, having
// said that it goes away: that is what the session ends with, which waits to be read.
func TestReportToWhoHasClosed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		synctest.Wait()
		r := l.responder.Sessions()[0]
		r.control.turn <- struct{}{}
		r.control.err = linkError(syscall.EPIPE)
		r.control.done()
		r.reports.lose(lostLink{flowID{r.keys.now().id, 1}, 1})
		synctest.Wait()
		_ = s.Close()
		synctest.Wait()
		if err := r.Err(); !errors.Is(err, ErrGoingAway) {
			t.Errorf("it has ended because of %v", err)
		}
	})
}

// TestReportOnBrokenLink has a session end soon whose link takes nothing, and from which nobody
// says why.
func TestReportOnBrokenLink(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.session()
		synctest.Wait()
		r := l.responder.Sessions()[0]
		r.control.turn <- struct{}{}
		r.control.err = linkError(syscall.EPIPE)
		r.control.done()
		for range 8 {
			r.reports.lose(lostLink{flowID{r.keys.now().id, 1}, 1})
			time.Sleep(abortTimeout / 4)
		}
		if err := r.Err(); !errors.Is(err, ErrCut) {
			t.Errorf("it has ended because of %v", err)
		}
	})
}
