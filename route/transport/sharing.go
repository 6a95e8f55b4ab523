package transport

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// dialerIdle and acceptorIdle are for how long a connection that links share may be without one.
	// Who dials ends it first: only he knows whether there will be another link.
	dialerIdle   = 5 * time.Second
	acceptorIdle = 3 * dialerIdle

	// heardLately is within which something has come on a connection that is used without asking.
	heardLately = 2 * time.Second

	// takenWithin is for the other side to show that it is there, where it has been quiet, before
	// another connection is made: the network may be another one by now.
	takenWithin = 2 * time.Second
)

// shared is a connection on which there are many links.
type shared interface {
	enter() bool
	leave()
	retire()

	// open opens a link, which has been counted by enter. Where it fails, that is taken back.
	open(ctx context.Context) (Link, error)

	// leadsTo is which of a name's addresses the connection was made to.
	leadsTo() Address

	// shut ends the connection, and does not wait for that.
	shut()
}

var errSharedEnded = errors.New("the connection that was to carry the link has ended")

// sharing is the connections of one transport that links to one place share. It is safe for
// concurrent use.
type sharing struct {
	tasks sync.WaitGroup

	mu       sync.Mutex // guards what follows
	places   map[Address]*sharedPlace
	all      map[shared]struct{} // also those that lead nowhere by now
	isClosed bool
}

// sharedPlace is where somebody listens, and the connection that leads there.
type sharedPlace struct {
	turn chan struct{} // full while somebody makes a connection; who does owns what follows
	now  shared        // nil if there is none
}

func newSharing() *sharing {
	return &sharing{places: make(map[Address]*sharedPlace), all: make(map[shared]struct{})}
}

// close ends all connections, and waits until they are gone.
func (s *sharing) close() {
	s.mu.Lock()
	s.isClosed = true
	all := slices.Collect(maps.Keys(s.all))
	s.places = nil
	s.mu.Unlock()
	for _, one := range all {
		one.shut()
	}
	s.tasks.Wait()
}

// run runs f on a goroutine that close waits for.
func (s *sharing) run(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed {
		return false
	}
	s.tasks.Go(f)
	return true
}

// begin runs f, which returns when one is gone, and forgets one then. It reports false if all is
// closed.
func (s *sharing) begin(one shared, f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed {
		return false
	}
	s.all[one] = struct{}{}
	s.tasks.Go(func() {
		f()
		s.forget(one)
	})
	return true
}

// dial makes a link on the connection that leads to a, or on a new one, which connect makes.
func (s *sharing) dial(
	ctx context.Context, a Address, connect func(context.Context, Address) (shared, error),
) (Link, error) {
	place := s.place(a)
	if place == nil {
		return nil, net.ErrClosed
	}
	select {
	case place.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := place.now
	if now != nil && now.enter() {
		<-place.turn
		link, err := now.open(ctx)
		if err == nil {
			return link, nil
		}
		now.retire()
		select {
		case place.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if place.now == now { // nobody else has made one meanwhile
		fresh, err := connect(ctx, a)
		if err != nil {
			s.drop(place)
			<-place.turn
			return nil, err
		}
		place.now = fresh
		s.alsoAt(fresh, a, place)
	}
	now = place.now
	entered := now.enter()
	<-place.turn
	if !entered {
		return nil, errSharedEnded
	}
	return now.open(ctx)
}

// drop forgets a place where nobody is. It is for who has its turn.
func (s *sharing) drop(place *sharedPlace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.places, func(_ Address, p *sharedPlace) bool { return p == place })
}

// place returns the place of an address, or nil once all is closed. Whoever asks for it may spell
// a host's name in many ways.
func (s *sharing) place(a Address) *sharedPlace {
	a = placeOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed {
		return nil
	}
	p := s.places[a]
	if p == nil {
		p = &sharedPlace{turn: make(chan struct{}, 1)}
		s.places[a] = p
	}
	return p
}

// placeOf is an address as all spell it.
func placeOf(a Address) Address {
	host, _, _ := strings.Cut(a.Name, "/")
	a.Name = strings.ToLower(host) + a.Name[len(host):]
	return a
}

// alsoAt has whoever dials the one of a name's addresses that a connection leads to use it as well.
func (s *sharing) alsoAt(one shared, a Address, of *sharedPlace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := one.leadsTo(); at != a && s.places != nil {
		s.places[at] = of
	}
}

// forget takes out the places of a connection that has ended.
func (s *sharing) forget(one shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, one)
	for at, p := range s.places {
		select {
		case p.turn <- struct{}{}:
		default:
			continue // somebody is about to make another connection
		}
		if p.now == one {
			delete(s.places, at)
		}
		<-p.turn
	}
}

// usage counts the links on a connection, which ends when it has had none for a while.
type usage struct {
	end  func()        // ends the connection; called more than once, perhaps
	idle time.Duration // without a link, before it ends
	most int           // links at once; 0 is no bound

	mu    sync.Mutex // guards what follows
	links int
	ended bool
	timer *time.Timer
}

// begin gives the first link its time.
func (u *usage) begin(within time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer = time.AfterFunc(within, u.endIdle)
}

func (u *usage) endIdle() {
	u.mu.Lock()
	idle := u.links == 0
	u.ended = u.ended || idle
	u.mu.Unlock()
	if idle {
		u.end()
	}
}

// enter counts a link. It reports false if there are to be no more.
func (u *usage) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || u.most > 0 && u.links >= u.most {
		return false
	}
	u.links++
	u.timer.Stop()
	return true
}

func (u *usage) leave() {
	u.mu.Lock()
	u.links--
	last, ended := u.links == 0, u.ended
	if last && !ended {
		u.timer.Reset(u.idle)
	}
	u.mu.Unlock()
	if last && ended {
		u.end()
	}
}

// retire takes no links any more, and ends when the last one has.
func (u *usage) retire() {
	u.mu.Lock()
	u.ended = true
	idle := u.links == 0
	u.mu.Unlock()
	if idle {
		u.end()
	}
}

// over is the end of the connection.
func (u *usage) over() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	u.timer.Stop()
}
