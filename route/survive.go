package route

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
)

// maxFormer is how many routes that lead to a service no more are remembered, of each Failover.
const maxFormer = 8

// besides is which routes lead to the same service as others: connections that one of them has lost
// may go on by another one. It has a lock of its own.
type besides struct {
	mu   sync.Mutex
	sets map[*Failover]alternatives
}

// alternatives are routes to the same service.
type alternatives struct {
	now    []Route
	former []Route // that connections may still be on, the oldest first
}

func newBesides() besides { return besides{sets: make(map[*Failover]alternatives)} }

// set takes note of the routes that lead to the same from now on.
func (b *besides) set(f *Failover, routes []Route) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.sets[f]
	for _, r := range all.now {
		if !containsRoute(routes, r) {
			all.former = append(all.former, r)
		}
	}
	if more := len(all.former) - maxFormer; more > 0 {
		all.former = slices.Delete(all.former, 0, more)
	}
	all.now = routes
	b.sets[f] = all
}

func (b *besides) remove(f *Failover) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sets, f)
}

// of returns the routes beside those whose sessions have keys that lead where led does, whose
// session has the first: to the same process, if the service is shared by several.
func (b *besides) of(led Route, keys ...string) (all []Route) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := keys[:1:1]
	has := func(r Route) bool { return slices.Contains(keys, lastSessionKey(r)) }
	for _, set := range b.sets {
		if !slices.ContainsFunc(set.now, has) && !slices.ContainsFunc(set.former, has) {
			continue
		}
		for _, r := range set.now {
			if k := lastSessionKey(r); !slices.Contains(seen, k) && sharer(r) == sharer(led) {
				seen = append(seen, k)
				all = append(all, r)
			}
		}
	}
	return all
}

func containsRoute(all []Route, r Route) bool {
	return slices.ContainsFunc(all, func(other Route) bool { return slices.Equal(other, r) })
}

// lastSessionKey is the sessionKey of a route's last secure step.
func lastSessionKey(r Route) string {
	segs := segments(r)
	if len(segs) < 2 {
		return ""
	}
	return sessionKey(r, segs, len(segs)-2)
}

// Outlives tells whether connections that come to the node outlive their links, if who makes them
// wants that too.
func (n *Node) Outlives() bool { return outlives(n.config) }

func outlives(c Config) bool { return c.Channel.Survive >= channel.MinSurvive }

// resumable has connections in a session, which segments 0 to k of r lead to, go on in another one
// if it is lost: on the route that has led to it, or on one beside that.
func (n *Node) resumable(s *channel.Session, w *sessionWay) {
	r, k := *w.led.Load(), w.k
	segs := segments(r)
	asked := sessionKey(w.r, w.segs, k)
	s.ResumeBy(func() []channel.Way {
		key := sessionKey(r, segs, k)
		ways := []channel.Way{{
			To: key,
			Make: func(ctx context.Context, instead *channel.Session) (*channel.Session, error) {
				return n.session(ctx, r, segs, k, instead)
			},
		}}
		for _, other := range n.besides.of(r, key, asked) {
			ways = append(ways, channel.Way{
				To: lastSessionKey(other),
				Make: func(ctx context.Context, _ *channel.Session) (*channel.Session, error) {
					return n.Session(ctx, other)
				},
			})
		}
		return ways
	})
	if outer := outerOf(s); outer != nil {
		n.Go(func() { retireWith(s, outer) })
	}
}

// outerOf returns the session whose flow is s's own link, or nil.
func outerOf(s *channel.Session) *channel.Session {
	stream, ok := s.Link().(*Stream)
	if !ok {
		return nil
	}
	return stream.Session()
}

// retireWith has a session go elsewhere when the one that it goes through is going away: that ends
// with the node which it is with.
func retireWith(s, outer *channel.Session) {
	select {
	case <-outer.GoingAway():
		s.Retire()
	case <-outer.Done():
	case <-s.Done():
	}
}

// suspended logs that connections have lost their links, and how that has ended. Single ones that
// go on at once are nobody's concern.
func (n *Node) suspended(s *channel.Session, now channel.Suspension) {
	about := []any{"identifier", s.Peer().Identifier(), "name", s.Name()}
	took := now.Took.Round(time.Millisecond).Seconds()
	switch {
	case !now.Over:
		n.logger.Info("connections have lost their way, and wait for another one",
			append(about, "connections", now.Waiting, "reason", now.Reason)...)
	case now.Lost > 0:
		n.logger.Warn("connections were lost: no way was found to go on",
			append(about, "connections", now.Lost, "gone on", now.Resumed, "took", took,
				"error", now.Failure)...)
	case now.Resumed > 0:
		level := slog.LevelInfo
		if now.Reason == nil {
			level = slog.LevelDebug
		}
		n.logger.Log(context.Background(), level, "connections have gone on another way",
			append(about, "connections", now.Resumed, "took", took)...)
	}
}

// gaveUp logs that a connection will not outlive its link.
func (n *Node) gaveUp(f *channel.Flow) {
	if n.keptTooMuch.Due(time.Now()) {
		n.logger.Warn("too much is kept that far ends have not acknowledged: "+
			"the connection that keeps most will end with its link",
			"identifier", f.Session().Peer().Identifier())
	}
}
