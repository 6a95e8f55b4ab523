package relay

import (
	"context"
	"errors"
	"slices"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

var errNotPassable = errors.New("the directory's route cannot be passed on by")

// passOn leads an inlet's link to the first of the relays that routes lead to which has the name.
// If the directory has to ask for more of them, it does so meanwhile.
func (s *Server) passOn(ctx context.Context, q *route.Request, name string, a Answer) error {
	source := q.Source()
	var more <-chan found
	if !a.Likely {
		more = s.askMore(ctx, source, a)
	}
	var notKnown error
	onward := q.Message.Onward
	passed, err := q.PassOn(ctx, func(yield func(route.NextHop) bool) {
		for _, to := range a.Routes {
			if !yield(s.hop(to, name, onward, a.Failed)) {
				return
			}
		}
		if a.Likely {
			more = s.askMore(ctx, source, a)
		}
		if more == nil {
			return
		}
		further := <-more
		notKnown = further.err
		for _, to := range further.routes {
			if !yield(s.hop(to, name, onward, a.Failed)) {
				return
			}
		}
	})
	switch {
	case passed:
		return err
	case notKnown != nil:
		return notNow(name, notKnown)
	case err == nil, isMissing(err):
		return s.missing(name, onward, err)
	}
	return err
}

// missing is what is told to whoever asks for a name that no relay has, as the last one says. Who
// asks for one of several processes hears that it has left from a relay that has seen that, and
// from no other.
func (s *Server) missing(name string, onward route.Route, said error) error {
	if len(onward) == 0 {
		return route.RefuseMissing(route.ForwardPrefix + name)
	}
	of, ok := route.InstanceOf(onward[0])
	if !ok {
		return route.RefuseMissing(route.ForwardPrefix + name)
	}
	if refused, ok := errors.AsType[*route.StatusError](said); ok && refused.Missing() == "" {
		return refused
	}
	return s.absent(name, Instance(of))
}

// found is what a directory has found out.
type found struct {
	routes []route.Route
	err    error
}

// askMore asks the directory for more routes, if it has to be asked, in the background.
func (s *Server) askMore(ctx context.Context, source string, a Answer) <-chan found {
	if a.More == nil {
		return nil
	}
	more := make(chan found, 1)
	asking := s.node.Go(func() {
		routes, err := a.More(ctx, source)
		more <- found{routes, err}
	})
	if !asking {
		more <- found{}
	}
	return more
}

// hop is a relay that may have a name.
func (s *Server) hop(
	to route.Route, name string, onward route.Route, failed func(route.Route, error),
) route.NextHop {
	hop := route.NextHop{
		Link: func(ctx context.Context) (route.Conn, error) {
			if route.CheckDialable(to) != nil || slices.ContainsFunc(to, isSecure) {
				return nil, errNotPassable
			}
			return s.node.DialLink(ctx, to[0])
		},
	}
	if len(to) > 0 {
		hop.Onward = slices.Concat(to[1:], route.Route{held(name)}, onward)
	}
	if failed != nil {
		hop.Failed = func(err error) { failed(to, err) }
	}
	return hop
}

func isSecure(a wire.Address) bool { return a.Kind == wire.Secure }

// isMissing tells whether a relay has said that it has not got a name.
func isMissing(err error) bool {
	var refused *route.StatusError
	return errors.As(err, &refused) && refused.Code == wire.NoService
}
