package relay

import (
	"context"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
)

// drainer is an outlet that is shutting down, with a connection that goes on, and whose way to the
// relay can be cut.
type drainer struct {
	*roamer
	open *route.Stream // to its echo service
	over chan struct{} // closed when Shutdown has returned
}

func newDrainer(t *testing.T, outlives bool) *drainer {
	t.Helper()
	d := &drainer{roamer: newRoamer(t, outlives), over: make(chan struct{})}
	inlet := d.node(t, func(c *route.Config) { c.Channel.Survive = time.Minute })
	to := route.Route{d.at, route.Forward("x"), secure(), svc(route.EchoName)}
	var err error
	if d.open, err = inlet.OpenAndAwait(testkit.Context(t), to, 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.open.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(d.over)
		_ = d.client.Serve.Shutdown(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Within(t, d.over, "Shutdown")
	})
	testkit.Within(t, d.client.Serve.Draining(), "the drain")
	return d
}

// cut cuts all that goes through the way. What comes later goes through it.
func (d *drainer) cut() {
	for _, k := range d.way.Conns() {
		k.Cut()
	}
}

// held tells whether a process has the name.
func (d *drainer) held(by *Client) bool {
	a, err := d.names.Lookup(d.t.Context(), "x")
	return err == nil && a.Where == Here && a.Lease.Instance() == by.Instance
}

// A process that is shutting down claims its name anew for those who have lost their way to it, and
// leaves it to the next one all the same.
func TestDrainingProcessIsFound(t *testing.T) {
	d := newDrainer(t, true)
	d.cut()
	_ = d.open.SetDeadline(time.Now().Add(testkit.Patience))
	testkit.Write(t, d.open, "hello")
	testkit.Expect(t, d.open, "hello")
	if !d.held(d.client) {
		t.Error("it does not have the name")
	}
	second := d.outliving(true)
	registered(t, second)
	if !d.held(second) {
		t.Error("the name is not the second's")
	}
	testkit.Write(t, d.open, "hello") // that has a link
	testkit.Expect(t, d.open, "hello")
}

// It does not claim a name anew that another process has got meanwhile, and its connections do not
// wait for somebody who cannot find it.
func TestDrainingProcessTakesNoName(t *testing.T) {
	d := newDrainer(t, true)
	second := d.outliving(true)
	registered(t, second)
	d.cut()
	testkit.Within(t, d.over, "the end of a shutdown that nothing is left to wait for")
	if !d.held(second) {
		t.Error("the name is not the second's")
	}
	_ = d.open.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := d.open.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the connection: %v", err)
	}
}

// Whose connections end with their links does not claim a name anew.
func TestDrainingProcessThatOutlivesNothing(t *testing.T) {
	d := newDrainer(t, false)
	d.cut()
	testkit.Within(t, d.over, "the end of a shutdown that nothing is left to wait for")
	testkit.Eventually(t, "nobody has the name", func() bool { return !d.held(d.client) })
}
