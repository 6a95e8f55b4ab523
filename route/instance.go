package route

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/wire"
)

// Several processes may share a name: it leads to any of them, and each is told from the others by
// its instance. A session is with one of them, and says with which; the step that names it stands
// behind the name's on the routes of all links of the session but the first.

// InstanceSize is how many bytes tell one process from others that share a name with it.
const InstanceSize = 8

// Instance is the step of a route behind a relay's name that leads to one of the processes which
// share it.
func Instance(of [InstanceSize]byte) wire.Address {
	return wire.Address{Kind: wire.Service, Name: InstancePrefix + hex.EncodeToString(of[:])}
}

// instanceStep returns the step for the instance that a far end says in a session. It reports false
// if that is none.
func instanceStep(said string) (wire.Address, bool) {
	step := wire.Address{Kind: wire.Service, Name: InstancePrefix + said}
	_, ok := InstanceOf(step)
	return step, ok
}

// InstanceOf returns whom a step leads to that is an Instance.
func InstanceOf(a wire.Address) (of [InstanceSize]byte, ok bool) {
	text, ok := strings.CutPrefix(a.Name, InstancePrefix)
	if !ok || a.Kind != wire.Service || len(text) != 2*InstanceSize || text != strings.ToLower(text) {
		return of, false
	}
	_, err := hex.Decode(of[:], []byte(text))
	return of, err == nil
}

// Instance returns which of the processes that share a name the onward route asks for, if it does.
func (q *Request) Instance() (of [InstanceSize]byte, ok bool) {
	if len(q.Message.Onward) == 0 {
		return of, false
	}
	return InstanceOf(q.Message.Onward[0])
}

// TakeInstance takes the step off the onward route that says which of the processes that share a
// name is meant. It reports false, and does nothing, if that says none.
func (q *Request) TakeInstance() (of [InstanceSize]byte, ok bool) {
	if of, ok = q.Instance(); ok {
		q.Message.Onward = q.Message.Onward[1:]
	}
	return of, ok
}

// sharer returns the text of the instance that a route leads to, or "" if it says none.
func sharer(r Route) string {
	for _, a := range slices.Backward(r) {
		if _, ok := InstanceOf(a); ok {
			return strings.TrimPrefix(a.Name, InstancePrefix)
		}
		if moves(a) {
			break
		}
	}
	return ""
}

// ledTo returns r with the step to an instance behind the last name on a relay in segment k. It
// reports false if that leads elsewhere, or says an instance already.
func ledTo(r Route, segs []Route, k int, step wire.Address) (Route, bool) {
	begin := length(segs[:k])
	for i, a := range slices.Backward(segs[k]) {
		if _, ok := InstanceOf(a); ok || a.IsTransport() {
			break
		}
		if moves(a) {
			return slices.Insert(slices.Clone(r), begin+i+1, step), true
		}
	}
	return nil, false
}

// Share says that the node is one of several processes that share names, and which, until release
// is called, once: it says so in its handshakes. All that are said at the same time are the same.
func (n *Node) Share(instance [InstanceSize]byte) (release func()) {
	return n.offers.share(hex.EncodeToString(instance[:]))
}

// errMisled says that whoever leads to a name has led to another of the processes that share it.
var errMisled = errors.New("the way leads to another process than the one that it was to lead to")

// sessionWay is how the links of a session are made that segments 0 to k of a route lead to.
type sessionWay struct {
	node *Node
	r    Route
	segs []Route
	k    int

	at  whereabouts
	led atomic.Pointer[Route] // where all links but the first lead, once the first has
}

// initiate makes the session.
func (w *sessionWay) initiate(ctx context.Context) (*channel.Session, error) {
	w.at.at.Store(nil)
	first, known := true, make(chan struct{})
	s, err := w.node.endpoint.InitiateTo(ctx, expected(w.segs[w.k]), forwardName(w.segs[:w.k+1]...),
		takenFor(w.segs, w.k), func(ctx context.Context) (channel.Conn, error) {
			if first {
				first = false
				return w.dial(ctx, w.r, w.segs)
			}
			select {
			case <-known:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			led := *w.led.Load()
			return w.dial(ctx, led, segments(led))
		})
	if err != nil {
		return nil, err
	}
	if err := w.follow(s.FarInstance()); err != nil {
		w.node.Quit(func(other *channel.Session) bool { return other == s })
		return nil, err
	}
	close(known)
	return s, nil
}

// follow has all other links lead where the first one has.
func (w *sessionWay) follow(instance string) error {
	led := w.r
	if want := sharer(w.segs[w.k]); want != "" && instance != want {
		return errMisled
	}
	if step, ok := instanceStep(instance); ok {
		if r, ok := ledTo(w.r, w.segs, w.k, step); ok {
			led = r
		}
	}
	w.led.Store(&led)
	return nil
}

func (w *sessionWay) dial(ctx context.Context, r Route, segs []Route) (channel.Conn, error) {
	s, err := w.node.open(ctx, r, segs, w.k, wire.Message{}, &w.at)
	if err != nil {
		return nil, err
	}
	s.Background() // whoever would miss it, would miss the session that it is for
	return s, nil
}

// gone tells whether an error of a session's making says that the process is gone which the route
// leads to: whoever leads to it has seen it end. A relay that has only just begun knows nobody by
// that name yet, which says nothing.
func (w *sessionWay) gone(err error) error {
	var status *StatusError
	if sharer(w.segs[w.k]) != "" && errors.As(err, &status) && status.Code == wire.NoService &&
		status.Missing() == "" {
		return fmt.Errorf("%w: %w", channel.ErrProcessGone, err)
	}
	return err
}
