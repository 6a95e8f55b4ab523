package relay

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/route/mux"
)

// vigil looks whether a lease may go on: when that may have changed, and when what its owner is
// trusted by ends. In between it has no goroutine, since a relay has one for each name. It ends the
// lease's mux.
type vigil struct {
	server  *Server
	lease   *Lease
	mux     *mux.Mux
	release func() bool    // ends that it is told of the session's end
	forget  func()         // ends that it is told of decisions
	tasks   sync.WaitGroup // of look

	mu      sync.Mutex
	over    bool
	reason  error // why the lease is to end, unless the mux or the session says it
	looking bool
	again   bool        // something has happened since it has begun to look
	watched bool        // the directory tells when the name has moved
	leave   func()      // has it not told; nil: it never was to
	timer   *time.Timer // for the end of the owner's trust; nil if that has none
}

// keepVigil begins a vigil, which lasts until end is called or the lease's session ends.
func (s *Server) keepVigil(l *Lease, m *mux.Mux) *vigil {
	v := &vigil{server: s, lease: l, mux: m}
	v.release = l.session.AfterEnd(func() { v.conclude(nil) })
	v.forget = l.session.OnDecided(v.poke)
	s.addVigil(v)
	v.poke()
	return v
}

// end ends the vigil, whose mux has ended, and returns why it has ended that.
func (v *vigil) end() error {
	v.conclude(nil)
	v.release()
	v.forget()
	v.server.removeVigil(v)
	v.tasks.Wait()
	if v.leave != nil {
		v.leave()
	}
	return v.reason
}

// poke has it looked soon. It never waits.
func (v *vigil) poke() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.again = true
	if !v.looking && !v.over {
		v.looking = true
		v.tasks.Go(v.look)
	}
}

// look looks until nothing more has happened.
func (v *vigil) look() {
	for v.takeAgain() {
		if err := v.check(); err != nil {
			v.conclude(err)
		}
	}
}

func (v *vigil) takeAgain() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looking = v.again && !v.over
	v.again = false
	return v.looking
}

// check tells whether the lease may go on.
func (v *vigil) check() error {
	s, l := v.server, v.lease
	decision, err := judge(s.node.Trust().Check, l.session, l.name)
	if err != nil {
		return err
	}
	v.lookAt(decision.Until)
	if !v.watch() {
		return nil
	}
	return s.checkHeld(l.session.Context(), l)
}

// lookAt has it looked at a time. Zero is never.
func (v *vigil) lookAt(until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	if !until.IsZero() && !v.over {
		v.timer = time.AfterFunc(time.Until(until), v.poke)
	}
}

// watch has it looked when the name has moved, and reports whether it was not watched before.
func (v *vigil) watch() (begun bool) {
	v.mu.Lock()
	begun = !v.watched && !v.over
	v.watched = true
	v.mu.Unlock()
	if !begun {
		return false
	}
	v.leave = v.server.directory.Watch(v.lease.name, v.moved)
	return true
}

// moved is called by the directory when the name has moved.
func (v *vigil) moved() {
	v.mu.Lock()
	v.watched = false
	v.mu.Unlock()
	v.poke()
}

// conclude ends the mux because of err. Only the first call does.
func (v *vigil) conclude(err error) {
	v.mu.Lock()
	if v.over {
		v.mu.Unlock()
		return
	}
	v.over, v.reason = true, err
	if v.timer != nil {
		v.timer.Stop()
	}
	v.mu.Unlock()
	if errors.Is(err, errClaimedAnew) {
		v.lease.tellSuperseded()
	}
	_ = v.mux.Close()
}

func (s *Server) addVigil(v *vigil) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vigils[v] = struct{}{}
	if !s.watchesTrust {
		s.watchesTrust = s.node.Go(s.watchTrust)
	}
}

func (s *Server) removeVigil(v *vigil) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.vigils, v)
}

// watchTrust has all vigils look when decisions may have changed, as long as the node lives.
func (s *Server) watchTrust() {
	for {
		changed := s.node.Trust().Changed()
		for _, v := range s.allVigils() {
			v.poke()
		}
		select {
		case <-changed:
		case <-s.node.Done():
			return
		}
	}
}

func (s *Server) allVigils() []*vigil {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.vigils))
}
