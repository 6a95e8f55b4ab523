package route

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// leading is a relay that leads links to a node, and says by labels where they come from.
type leading struct {
	t    *testing.T
	node *Node
	*Relayed
	ended *atomic.Int64 // links
}

func newLeading(t *testing.T, limits admission.Limits) (leading, *channel.Endpoint) {
	w := newWorld(t)
	n := w.node(t, func(c *Config) { c.Limits = limits })
	n.HandleBasics()
	e, err := channel.New(w.config(t).Channel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return leading{t, n, n.Relayed("relay"), new(atomic.Int64)}, e
}

// source is the label of a source, as long as labels are.
func sourceLabel(name string) string { return (name + "        ")[:wire.LabelSize] }

// link returns a link of somebody at a source, which asks for a secure channel.
func (l leading) link(from string) *Stream {
	near, far := faultnet.Pipe()
	l.node.Go(func() { l.ServeLink(far, func() { l.ended.Add(1) }) })
	l.t.Cleanup(func() { _ = near.Close() })
	return opened(near, new(answerer), opening(l.t, wire.Message{
		Onward: wire.Route{secure()},
		Return: wire.Route{{Kind: wire.Label, Name: sourceLabel(from)}},
	}))
}

// firstMessage is what Initiate says first.
func (l leading) firstMessage(e *channel.Endpoint) []byte {
	near, far := faultnet.Pipe()
	defer near.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = e.Initiate(
			context.Background(),
			"",
			trust.As{},
			func(context.Context) (channel.Conn, error) {
				return far, nil
			},
		)
	}()
	b := make([]byte, 4096)
	n, err := near.Read(b)
	if err != nil {
		l.t.Fatal(err)
	}
	_ = near.Close()
	<-ended
	return b[:n]
}

func (l leading) initiate(e *channel.Endpoint, from string) error {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	s, err := e.Initiate(ctx, "", trust.As{}, func(context.Context) (channel.Conn, error) {
		return l.link(from), nil
	})
	if err == nil {
		_ = s.Close()
	}
	return err
}

// tokens returns how many handshakes a source may begin now.
func (l leading) tokens(from string) (n int) {
	for l.node.admission.Handshake(l.way.Source(sourceLabel(from)), time.Now()) == nil {
		n++
	}
	return n
}

// The beginning of a handshake costs its source nothing but a slot: a token is taken for a whole
// message.
func TestHelloCostsNoHandshake(t *testing.T) {
	t.Parallel()
	l, e := newLeading(t, admission.Limits{HandshakeRate: 1, Relayed: 1024})
	whole := l.firstMessage(e)
	for n := range 100 {
		c := l.link("stranger")
		if _, err := c.Write(whole[:1+n*(len(whole)-2)/100]); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.initiate(e, "stranger"); err != nil {
		t.Error(err)
	}
	began := time.Now()
	c := l.link("another")
	if _, err := c.Write(whole); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
		t.Errorf("no answer to a whole message: %v", err)
	}
	n := l.tokens("another")
	if n < 3 || n > 3+int(time.Since(began).Seconds()) { // one comes back each second
		t.Errorf("its source has %d tokens left, want 3 of 4", n)
	}
}

// Who begins handshakes without end, by a relay that others come by as well, is told that the node
// is busy, and they are not.
func TestHandshakesWithoutEnd(t *testing.T) {
	t.Parallel()
	l, e := newLeading(t, admission.Limits{HandshakeRate: 1, Relayed: 16})
	whole := l.firstMessage(e)
	began := time.Now()
	var strangers []*Stream
	for range 100 {
		c := l.link("stranger")
		_, _ = c.Write(whole) // it may have been reset
		strangers = append(strangers, c)
	}
	answered, busy := 0, 0
	for _, c := range strangers {
		var status *StatusError
		_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
		_, err := c.Read(make([]byte, 1))
		if errors.As(err, &status) && status.Code == wire.Busy {
			busy++
		} else if err == nil {
			answered++
		}
	}
	if most := 8 + int(time.Since(began).Seconds()); answered > most || busy == 0 {
		t.Errorf("%d strangers are answered, and %d told to wait", answered, busy)
	}
	for n := range 4 {
		if err := l.initiate(e, "client"); err != nil {
			t.Errorf("client %d: %v", n, err)
		}
	}
}

// Links on which nothing is said keep nobody out who has something to say, even from the same
// source, and they are bounded.
func TestSilentLinksByRelay(t *testing.T) {
	t.Parallel()
	const most, flood = 64, 320
	const kept = most / 4 // for sources that have few
	l, e := newLeading(t, admission.Limits{Relayed: most})
	for range flood {
		_ = l.link("stranger").Flush() // it may have been reset
	}
	testkit.Eventually(t, "all are reset but those that have slots", func() bool {
		here, _ := l.node.admission.Links() // none of which is still to come, or about to be reset
		return here == most-kept && l.ended.Load() == flood-(most-kept)
	})
	for n := range 10 {
		if err := l.initiate(e, "stranger"); err != nil {
			t.Errorf("client %d: %v", n, err)
		}
	}
}

// One identity's links are bounded, those that have no flow included; and a flow goes before those.
func TestLinksOfOneIdentity(t *testing.T) {
	t.Parallel()
	const most = 4
	l, e := newLeading(t, admission.Limits{PerIdentity: most})
	s, err := e.Initiate(t.Context(), "", trust.As{}, func(context.Context) (channel.Conn, error) {
		return l.link("client"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	open := func() *channel.Flow {
		f, err := s.Open(testkit.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(opening(t, wire.Message{Onward: wire.Route{svc(EchoName)}}))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	status := func(f *channel.Flow) wire.Code {
		_ = f.SetDeadline(time.Now().Add(testkit.Patience))
		b := make([]byte, 1)
		if _, err := io.ReadFull(f, b); err != nil {
			t.Fatal(err)
		}
		return wire.Code(b[0])
	}
	var flows []*channel.Flow
	for range most {
		f := open()
		_, _ = f.Write([]byte("x"))
		flows = append(flows, f)
		if code := status(f); code != wire.OK {
			t.Errorf("a flow is refused: %v", code)
		}
	}
	f := open()
	if code := status(f); code != wire.Busy {
		t.Errorf("a flow too many hears %v", code)
	}
	for _, f := range append(flows, f) {
		_ = f.CloseWrite()
		_, _ = io.Copy(io.Discard, f)
		_ = f.Close()
	}
	testkit.Eventually(t, "a link too many is closed", func() bool {
		l.node.links.mu.Lock()
		defer l.node.links.mu.Unlock()
		return len(l.node.links.links) == most+1 // and the session's own
	})
}
