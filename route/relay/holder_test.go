package relay

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// holders is a relay, and processes of one identity that want the name x on it.
type holders struct {
	world
	t     *testing.T
	relay *route.Node
	at    wire.Address
	names *Memory

	server *Server
}

func newHolders(t *testing.T, change ...func(*route.Config)) *holders {
	t.Helper()
	h := &holders{world: newWorld(t), t: t, names: NewMemory(MemoryConfig{})}
	h.relay, h.at = h.listening(t, change...)
	h.server = NewServer(h.relay, ServerConfig{Directory: h.names})
	return h
}

// process returns a client that is a process of its own, with a node of its own.
func (h *holders) process() *Client {
	h.t.Helper()
	n := h.node(h.t)
	n.HandleBasics()
	return &Client{Relay: route.Route{h.at}, Name: "x", Dial: n, Serve: n}
}

// holder returns which process has the name.
func (h *holders) holder() Instance {
	h.t.Helper()
	a, err := h.names.Lookup(h.t.Context(), "x")
	if err != nil || a.Where != Here {
		h.t.Fatalf("%+v, %v", a, err)
	}
	return a.Lease.Instance()
}

// A process does not take the name from another one of its identity that is there, and is told so;
// the one that has it keeps it.
func TestNameIsHeld(t *testing.T) {
	h := newHolders(t)
	first := h.process()
	lost := make(chan error, 1)
	first.Failed = func(err error) { lost <- err }
	registered(t, first)
	err := h.process().Try(testkit.Context(t))
	var status *route.StatusError
	if !errors.As(err, &status) || status.Code != wire.NameTaken ||
		status.Reason != "another process of this identity has the name x" {
		t.Errorf("got %v", err)
	}
	if h.holder() != first.Instance {
		t.Error("the name is another's")
	}
	select {
	case err := <-lost:
		t.Errorf("lost: %v", err)
	default:
	}
}

// One that is told to replaces the other, which does not take the name back in turn: also if it has
// been told to replace somebody itself.
func TestReplace(t *testing.T) {
	h := newHolders(t)
	first, second := h.process(), h.process()
	first.Replace, second.Replace = true, true
	lost := make(chan error, 16)
	first.Failed = func(err error) { lost <- err }
	registered(t, first)
	registered(t, second)
	if err := testkit.Within(t, lost, "the loss"); !errors.Is(err, errSuperseded) {
		t.Errorf("got %v", err)
	}
	err := testkit.Within(t, lost, "another try")
	var status *route.StatusError
	if !errors.As(err, &status) || status.Code != wire.NameTaken {
		t.Errorf("got %v", err)
	}
	if h.holder() != second.Instance {
		t.Error("the name is not the second's")
	}
}

// The same process takes its name back at once, whatever has become of the claim before.
func TestSameProcessClaimsAnew(t *testing.T) {
	h := newHolders(t)
	first := h.process()
	registered(t, first)
	again := h.process()
	again.Instance = first.Instance
	if err := again.Try(testkit.Context(t)); err != nil {
		t.Error(err)
	}
}

// A process that takes nothing new any more leaves its name to the next one, while what it serves
// goes on.
func TestDrainingProcessLeavesItsName(t *testing.T) {
	h := newHolders(t)
	first := h.process()
	registered(t, first)
	to := route.Route{h.at, route.Forward("x"), secure(), svc(route.EchoName)}
	open, err := h.node(t).OpenAndAwait(testkit.Context(t), to, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	draining, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = first.Serve.Shutdown(draining)
	}()
	second := h.process()
	registered(t, second)
	if h.holder() != second.Instance {
		t.Error("the name is not the second's")
	}
	testkit.Write(t, open, "hello")
	testkit.Expect(t, open, "hello")
	cancel()
	testkit.Within(t, ended, "Shutdown")
}

// A process that does not answer loses the name to the next one, soon; one that has gone is not
// waited for.
func TestSilentHolderLosesTheName(t *testing.T) {
	h := newHolders(t)
	way, err := faultnet.Proxy(
		t.Context(),
		"127.0.0.1:0",
		transport.Format(h.at),
		faultnet.ProxyConfig{},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer way.Close()
	silent := h.process()
	silent.Relay = route.Route{transport.FromAddrPort(netip.MustParseAddrPort(way.Addr()))}
	registered(t, silent)
	way.BlackHole(true)
	if err := h.process().Try(testkit.Context(t)); err != nil {
		t.Errorf("it does not answer: %v", err)
	}

	gone := h.process()
	registered(t, gone)
	_ = gone.Serve.Close()
	if err := h.process().Try(testkit.Context(t)); err != nil {
		t.Errorf("it has gone: %v", err)
	}
}
