package homes

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/wire"
)

// When an inlet asks which processes share a name.
const (
	sharersAgain = 15 * time.Second // while all is well
	sharersSick  = 2 * time.Second  // while one is not: it may be again
)

// AskSharers asks the relay that a route leads to which processes share a name there.
func AskSharers(
	ctx context.Context, n *route.Node, to route.Route, name string,
) ([]relay.Sharer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	shared := wire.Address{Kind: wire.Service, Name: route.SharedPrefix + name}
	b, err := question(ctx, n, append(slices.Clone(to), shared), relay.MaxSharers)
	if err != nil {
		return nil, fmt.Errorf("who shares the name: %w", err)
	}
	return relay.ParseSharers(b)
}

// question opens a route to what answers with something and an end, and returns that: no more than
// most bytes and one.
func question(ctx context.Context, n *route.Node, to route.Route, most int64) ([]byte, error) {
	s, err := n.OpenAndAwait(ctx, to, 0, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(askTimeout))
	if err := s.CloseWrite(); err != nil { // so the link can be used for what comes next
		return nil, err
	}
	return io.ReadAll(io.LimitReader(s, most+1))
}

// sharers is which processes share the name of a route, as its homes say.
type sharers struct {
	at     [][]relay.Sharer // of each home; nil: it is not shared there, as far as is known
	wanted bool             // they are to be asked from time to time
	asked  time.Time        // when they were; zero: they are to be
}

// isShared tells whether the name is shared anywhere.
func (s *sharers) isShared() bool {
	return slices.ContainsFunc(s.at, func(at []relay.Sharer) bool { return len(at) > 0 })
}

// next is how long after the last question there is another one.
func (s *sharers) next() time.Duration {
	for _, at := range s.at {
		if slices.ContainsFunc(at, func(one relay.Sharer) bool { return one.Sick }) {
			return sharersSick
		}
	}
	return sharersAgain
}

// due returns a channel on which something comes when there is to be another question.
func (s *sharers) due() <-chan time.Time {
	if !s.wanted {
		return nil
	}
	return time.After(time.Until(s.asked.Add(s.next())))
}

// learn asks the homes which processes share the name, if one of them does. What a home does not
// answer stays as it was.
func (i *Inlet) learn(ctx context.Context, by byName, homes []route.Route, known *sharers) {
	known.at = slices.Grow(known.at, len(homes))[:len(homes)]
	known.wanted = known.isShared() || slices.ContainsFunc(homes, i.Paths.IsShared)
	if !known.wanted {
		known.asked = time.Time{}
		return
	}
	known.asked = time.Now()
	var tasks sync.WaitGroup
	for k, home := range homes {
		tasks.Go(func() {
			at, err := AskSharers(ctx, i.Node, by.relay(home), by.name)
			switch {
			case err == nil:
				known.at[k] = at
			case isNone(err):
				known.at[k] = nil
			default:
				i.Node.Logger().Debug("no list of who shares a name", "route", route.Format(home),
					"error", err)
			}
		})
	}
	tasks.Wait()
}

// isNone tells whether a relay has said that it has nothing of that name.
func isNone(err error) bool {
	code, ok := refused(err)
	return ok && code == wire.NoService
}

// paths returns what stands for a route: where the name is shared, paths to each process that
// shares it, by each home; and as long as none of those is up, or it is not shared, the homes
// themselves, and the rest of the ways as long as none of them is.
func (i *Inlet) paths(by byName, to ways, known *sharers) (all []route.Choice) {
	up := false
	for k, home := range to.homes {
		if k >= len(known.at) {
			break
		}
		for _, one := range known.at[k] {
			r := slices.Insert(slices.Clone(home), by.forward+1, one.Step())
			all = append(all, route.Choice{Route: r, Sick: one.Sick})
			up = up || i.Paths.IsUp(r)
		}
	}
	if up {
		return all
	}
	routes := to.homes
	if !i.isAnyUp(routes) {
		routes = slices.Concat(routes, to.spare)
	}
	for k, r := range routes {
		all = append(all, route.Choice{Route: r, Rank: 1 + k})
	}
	return all
}
