package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/queue"
)

// silentNATS listens as a server that lets somebody in, and reads nothing any more then.
func silentNATS(t *testing.T) string {
	t.Helper()
	l := testkit.Listen(t)
	over := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		brokertest.AnswerPings(c, 2)
		<-over
	})
	t.Cleanup(func() {
		close(over)
		_ = l.Close()
		tasks.Wait()
	})
	return l.Addr().(*net.TCPAddr).String()
}

// Who ends what is on a connection to a server that takes nothing any more does not wait for that
// until the server is given up.
func TestNATSClosesInTime(t *testing.T) {
	t.Parallel()
	const givenUp = 10 * time.Second
	pulse := testkit.StartPulse()
	defer pulse.Stop()
	a, err := Parse("nats://" + silentNATS(t) + "/sp.test")
	if err != nil {
		t.Fatal(err)
	}
	accept := func(*queue.Carrier) bool { return true }
	hub, by, err := newBrokered(Config{}.withDefaults()).joinNATS(
		testkit.Context(t), a, joining{self: queue.NewID(), accept: accept})
	if err != nil {
		t.Fatal(err)
	}
	q := by.(*natsQueue)
	var sends atomic.Int64
	sent, ended := make(chan error, 1), make(chan struct{})
	go func() {
		to := queue.Box{ID: queue.NewID()}
		for {
			if err := q.send(to, make([]byte, queue.MaxMessage)); err != nil {
				sent <- err
				return
			}
			sends.Add(1)
		}
	}()
	unsent, before := 0, int64(-1)
	testkit.Eventually(t, "no more room", func() bool {
		wasUnsent, was := unsent, before
		unsent, before = q.unsent(), sends.Load()
		return unsent > 0 && unsent == wasUnsent && before == was
	})
	began := time.Now()
	go func() {
		(&present{hub: hub, by: by}).close()
		close(ended)
	}()
	testkit.Within(t, ended, "the end")
	testkit.Within(t, sent, "the end of who sends")
	if took := time.Since(began); took > pulse.Stretch(givenUp/2, began) {
		t.Errorf("that took %v", took)
	}
}
