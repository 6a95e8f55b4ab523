package channel

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// refusedLink is a link on which whoever it has led to refuses the flow, once until has happened.
type refusedLink struct {
	Conn
	until <-chan struct{} // nil is at once
	err   error
}

func (r *refusedLink) Read([]byte) (int, error) {
	if r.until != nil {
		<-r.until
	}
	return 0, r.err
}

// refusal is what a refusedLink says.
type linkRefusal struct{ elsewhere, later bool }

func (linkRefusal) Error() string { return "refused" }

func (r linkRefusal) Misled() (elsewhere, later bool) { return r.elsewhere, r.later }

var (
	errElsewhere = linkRefusal{elsewhere: true}
	errLater     = linkRefusal{later: true}
	errForGood   = linkRefusal{}
)

// misleads is a dial whose links fail one after the other with errs, and then lead to the
// responder. Those that fail reach nobody.
func (l *lab) misleads(errs ...error) func(context.Context) (Conn, error) {
	var dialed atomic.Int32
	return func(ctx context.Context) (Conn, error) {
		n := int(dialed.Add(1)) - 2 // the first is the control link
		if n < 0 || n >= len(errs) {
			return l.dial(ctx)
		}
		client, server := l.pipe()
		l.tasks.Go(func() {
			_, _ = io.Copy(io.Discard, server)
			_ = server.Close()
		})
		return &refusedLink{Conn: client, err: errs[n]}, nil
	}
}

func repeated(err error, n int) []error { return slices.Repeat([]error{err}, n) }

// A flow whose link has led to somebody else gets to the session's far end, whole and once, over
// the next link that does. What cannot be helped ends it soon: there are more such links than it
// takes, since the session may also make links ahead.
func TestFlowIsSentAgain(t *testing.T) {
	for _, test := range []struct {
		name    string
		errs    []error
		arrives bool
		retires bool
	}{
		{"one link has led elsewhere", repeated(errElsewhere, 1), true, false},
		{"many have", repeated(errElsewhere, againElsewhere-1), true, false},
		{"all have", repeated(errElsewhere, 2*againElsewhere), false, true},
		{"one broke", repeated(io.EOF, 1), true, false},
		{"some broke", repeated(io.EOF, againBroken), true, false},
		{"too many broke", repeated(io.EOF, 2*againBroken+1), false, false},
		{"somebody was busy", repeated(errLater, 1), true, false},
		{"somebody stays busy", repeated(errLater, 2*againBroken+1), false, false},
		{"one broke, and one leads elsewhere", []error{io.EOF, errElsewhere}, true, false},
		{"it is refused for good", repeated(errForGood, 8), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				var flows atomic.Int32
				l.handle = func(ctx context.Context, f *Flow) {
					flows.Add(1)
					echo(ctx, f)
				}
				s := l.sessionBy(l.misleads(test.errs...))
				began := time.Now()
				err := transfer(t, l.open(s), pattern(10_000), 3_000)
				if (err == nil) != test.arrives {
					t.Errorf("it ends with %v", err)
				}
				if took := time.Since(began); took > (againBroken+1)*againPause {
					t.Errorf("that took %v", took)
				}
				if n := int(flows.Load()); n > 1 || (n == 1) != test.arrives {
					t.Errorf("%d flows have arrived", n)
				}
				if s.Retired() != test.retires {
					t.Errorf("the session is retired: %v", s.Retired())
				}
			})
		})
	}
}

// Whoever is on the way can have a flow delivered and say that it was not. The session's far end
// takes it once all the same.
func TestFlowArrivesOnce(t *testing.T) {
	for _, err := range []error{errElsewhere, errLater, io.EOF, io.ErrUnexpectedEOF} {
		inBubble(t, nil, func(t *testing.T, l *lab) {
			arrived := make(chan struct{})
			var flows atomic.Int32
			l.handle = func(_ context.Context, f *Flow) {
				expect(t, f, "pay him")
				if flows.Add(1) == 1 {
					close(arrived)
				}
				_, _ = io.Copy(io.Discard, f)
			}
			var dialed atomic.Int32
			s := l.sessionBy(func(ctx context.Context) (Conn, error) {
				c, dialing := l.dial(ctx)
				if dialed.Add(1) == 1 {
					return c, dialing
				}
				return &refusedLink{c, arrived, err}, dialing
			})
			f := l.open(s)
			defer f.Close()
			write(t, f, "pay him")
			_, failed := f.Read(make([]byte, 1))
			wantNoEOF(t, failed)
			if dialed.Load() < 3 {
				t.Error("it was not sent again")
			}
			if n := flows.Load(); n != 1 {
				t.Errorf("it has arrived %d times", n)
			}
		})
	}
}

// What is not kept is not sent again: too much of it, and a flow that is given up.
func TestFlowIsNotSentAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.sessionBy(l.misleads(errElsewhere, errElsewhere))
		f := l.open(s)
		if _, err := f.Write(pattern(againBytes)); err != nil {
			t.Fatal(err)
		}
		_, err := f.Read(make([]byte, 1))
		var m Misled
		if !errors.As(err, &m) {
			t.Errorf("it ends with %v", err)
		}
		f = l.open(s)
		write(t, f, "hello")
		_ = f.Close()
		_, err = f.Read(make([]byte, 1))
		wantNoEOF(t, err)
		if l.greeted(s); l.dialed != 4 {
			t.Errorf("%d links were made", l.dialed)
		}
	})
}

// A session that is retired goes on with its flows, ends with them, and counts as going away.
func TestRetire(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		s := l.session()
		f := l.greeted(s)
		s.Retire()
		<-s.GoingAway()
		write(t, f, "more")
		expect(t, f, "more")
		select {
		case <-s.Done():
			t.Error("it has ended with a flow open")
		case <-time.After(time.Second):
		}
		if err := f.CloseWrite(); err != nil {
			t.Error(err)
		}
		expectEnd(t, f)
		<-s.Done()
	})
}
