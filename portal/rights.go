package portal

import (
	"errors"
	"net"
	"sync"

	"github.com/secureportal/sp/channel"
)

// errNotAllowedAnyMore ends a connection whose far end has lost what a rule asks for.
var errNotAllowedAnyMore = errors.New("the far end may not reach this target any more")

// rights are what whoever has asked for a connection must keep: it is reset when what is known of
// him has changed, and does not allow it any more. Nil are none that could be lost.
type rights struct {
	session *channel.Session
	still   func(app net.Conn) bool
	cancel  func() // nil until they are watched

	mu    sync.Mutex
	over  bool
	tasks sync.WaitGroup // who look
}

// watch has them be looked at whenever a decision is made, until end is called.
func (r *rights) watch(p *proxy) {
	if r == nil {
		return
	}
	look := func() {
		if !r.still(p.A) {
			p.Fail(errNotAllowedAnyMore)
		}
	}
	// Who calls this must not be kept waiting.
	r.cancel = r.session.OnDecided(func() { r.run(look) })
	r.run(look) // it may have been lost before
}

// end waits for who looks.
func (r *rights) end() {
	if r == nil || r.cancel == nil {
		return
	}
	r.cancel()
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.tasks.Wait()
}

func (r *rights) run(look func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.tasks.Go(look)
	}
}
