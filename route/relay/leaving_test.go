package relay

import (
	"context"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// leaver is an outlet that has claimed a name, and something that somebody has open there.
type leaver struct {
	*holders
	client *Client
	failed chan error
	ended  chan struct{} // closed when Run has returned
	open   *route.Stream
}

func newLeaver(t *testing.T) *leaver {
	t.Helper()
	l := &leaver{
		holders: newHolders(t), failed: make(chan error, 16), ended: make(chan struct{}),
	}
	l.client = l.process()
	l.client.Failed = func(err error) { l.failed <- err }
	up := make(chan struct{}, 16)
	l.client.Registered = func() { up <- struct{}{} }
	l.runs(l.client)
	testkit.Within(t, up, "the registration")
	to := route.Route{l.at, route.Forward("x"), secure(), svc(route.EchoName)}
	var err error
	if l.open, err = l.node(t).OpenAndAwait(testkit.Context(t), to, 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.open.Close() })
	l.echoes()
	return l
}

// runs runs a client until the test ends.
func (l *leaver) runs(c *Client) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(l.ended)
		c.Run(ctx)
	}()
	l.t.Cleanup(func() {
		cancel()
		testkit.Within(l.t, l.ended, "Run")
	})
}

func (l *leaver) echoes() {
	l.t.Helper()
	_ = l.open.SetDeadline(time.Now().Add(testkit.Patience))
	testkit.Write(l.t, l.open, "hello")
	testkit.Expect(l.t, l.open, "hello")
}

func (l *leaver) isRunning() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// A name that is given up without haste cuts nothing that is open: Run returns when that has ended,
// and says that the name is not held any more.
func TestLeave(t *testing.T) {
	t.Parallel()
	l := newLeaver(t)
	l.client.Leave()
	testkit.Within(t, l.open.Session().GoingAway(), "whoever comes being told")
	rounds := time.NewTimer(2 * (leaveEmpty + 1) * leaveInterval)
	defer rounds.Stop()
	<-rounds.C // the subject: after it everything would be over, were nothing open
	l.echoes()
	if !l.isRunning() {
		t.Error("it has not waited for what is open")
	}
	_ = l.open.Close()
	l.open.Session().Retire()
	testkit.Within(t, l.ended, "Run")
	testkit.Within(t, l.failed, "Failed")
	if l.client.Stay() {
		t.Error("what is over has been taken back")
	}
}

// Who changes his mind in time has the name as before.
func TestStay(t *testing.T) {
	t.Parallel()
	l := newLeaver(t)
	held := l.holder()
	l.client.Leave()
	testkit.Within(t, l.open.Session().GoingAway(), "whoever comes being told")
	if !l.client.Stay() {
		t.Fatal("too late")
	}
	l.echoes()
	if l.holder() != held || len(l.failed) > 0 {
		t.Error("the name has been lost meanwhile")
	}
	l.client.Leave()
	l.client.Stay()
	l.relay.GoAway(func(*channel.Session) bool { return true }) // so it claims the name anew
	testkit.Within(t, l.failed, "Failed")
	if !l.isRunning() {
		t.Error("Run has ended although the name is wanted")
	}
}

// Where the name is not held, there is nothing to wait for: not before the relay has answered, and
// not before the next attempt.
func TestLeaveNothing(t *testing.T) {
	t.Parallel()
	silent := testkit.Listen(t)
	for what, at := range map[string]wire.Address{
		"the relay does not answer": addressOf(silent), "the relay is not there": nowhere(t),
	} {
		t.Run(what, func(t *testing.T) {
			l := &leaver{holders: newHolders(t), ended: make(chan struct{})}
			c := l.process()
			c.Relay, c.ClaimTimeout = route.Route{at}, time.Hour
			tries := make(chan struct{}, 1)
			if at != addressOf(silent) {
				c.Failed = func(error) {
					select {
					case tries <- struct{}{}:
					default:
					}
				}
			} else {
				go func() {
					if conn, err := silent.Accept(); err == nil {
						tries <- struct{}{}
						defer conn.Close()
						<-l.ended
					}
				}()
			}
			l.runs(c)
			testkit.Within(t, tries, "a try")
			c.Leave()
			testkit.Within(t, l.ended, "Run")
		})
	}
	t.Run("before Run", func(t *testing.T) {
		l := &leaver{holders: newHolders(t), ended: make(chan struct{})}
		c := l.process()
		c.Leave()
		l.runs(c)
		testkit.Within(t, l.ended, "Run")
	})
}
