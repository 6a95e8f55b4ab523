package route

import (
	"context"
	"errors"
	"sync"

	"github.com/secureportal/sp/channel"
)

// network is the network that a node's own links go by, until it is another one. It has a lock of
// its own. The zero value is ready.
type network struct {
	mu  sync.Mutex
	ctx context.Context // ends when it is another one; nil if nobody has asked
	end context.CancelFunc
}

// now returns a context that ends when the network becomes another one.
func (n *network) now() context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx == nil {
		n.ctx, n.end = context.WithCancel(context.Background())
	}
	return n.ctx
}

func (n *network) change() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx != nil {
		n.end()
		n.ctx, n.end = nil, nil
	}
}

// NetworkChanged says that the network that the node's own links go by is another one, or that time
// has passed in which nobody could do anything. It waits for nothing.
//
// The sessions that the node has made are asked whether their far ends still answer, and whichever
// does not ends: see channel.Endpoint.Probe. Sessions that are being made are begun anew. Whoever
// waits before another attempt tries now: see NewBackoff.
func (n *Node) NetworkChanged() {
	n.network.change()
	n.directs.networkChanged()
	n.Go(n.endpoint.Probe)
}

// NewBackoff returns a Backoff that waits no longer when the network has become another one. What
// fails that was begun on the one before, since NewBackoff or the last Wait, is tried again at
// once.
func (n *Node) NewBackoff() Backoff {
	return Backoff{network: &n.network, changed: n.network.now().Done()}
}

var errNetworkChanged = errors.New("the network has changed")

// onThisNetwork makes a session, and begins anew if the network becomes another one meanwhile: a
// link may be waited for that is never made. It does so once, for a network may never settle.
func (n *Node) onThisNetwork(
	initiate func(ctx context.Context) (*channel.Session, error),
) (*channel.Session, error) {
	ctx, cancel := context.WithCancelCause(n.life.ctx)
	defer cancel(nil)
	forget := context.AfterFunc(n.network.now(), func() { cancel(errNetworkChanged) })
	session, err := initiate(ctx)
	forget()
	if err != nil && errors.Is(context.Cause(ctx), errNetworkChanged) {
		return initiate(n.life.ctx)
	}
	return session, err
}
