package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// followTimeout is how long the address is tried at which somebody's other links are, before its
// name is looked up.
const followTimeout = time.Second

// followed is where the links have gone that a node has forwarded for somebody to a name: his next
// ones go there too, as long as one of those lives, since they are likely to be of one session. It
// has a lock of its own.
type followed struct {
	mu sync.Mutex
	by map[followedKey]*followedLinks
}

type followedKey struct {
	source admission.Source
	to     wire.Address
}

type followedLinks struct {
	at    wire.Address // of the last one
	links int          // that are open
}

func newFollowed() followed { return followed{by: make(map[followedKey]*followedLinks)} }

func (f *followed) where(k followedKey) (at wire.Address, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	links, ok := f.by[k]
	if !ok {
		return at, false
	}
	return links.at, true
}

// begin counts a link that has gone to at, until end is called, once.
func (f *followed) begin(k followedKey, at wire.Address) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	links, ok := f.by[k]
	if !ok {
		links = new(followedLinks)
		f.by[k] = links
	}
	links.at = at
	links.links++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if links.links--; links.links == 0 {
			delete(f.by, k)
		}
	}
}

// dialFor makes a link to a for somebody whose request is to be forwarded there. end is called when
// that link has ended.
func (n *Node) dialFor(
	ctx context.Context, source admission.Source, a wire.Address,
) (link netio.Conn, end func(), err error) {
	if !a.IsNamed() {
		link, err = n.dialTransport(ctx, a)
		return link, func() {}, err
	}
	k := followedKey{source, a}
	err = errNotFollowed
	if at, ok := n.followed.where(k); ok {
		soon, cancel := context.WithTimeout(ctx, followTimeout)
		link, err = n.dialTransport(soon, at)
		cancel()
	}
	if err != nil {
		link, err = n.dialTransport(ctx, a)
	}
	if err != nil {
		return nil, nil, err
	}
	at, ok := transport.FromAddr(link.RemoteAddr())
	if !ok {
		return link, func() {}, nil
	}
	return link, n.followed.begin(k, at), nil
}

var errNotFollowed = errors.New("no other link is there")
