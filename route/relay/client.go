package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// Registrar keeps a claim of a name on a relay: it makes it, makes it again when it is lost, and serves what the relay
// forwards.
type Client struct {
	Relay route.Route // to the relay's node, without a service
	Name  string      // to claim there

	// Dial walks the route to the relay. Its trust decides which identity the relay must have.
	Dial *route.Node
	// Serve serves what comes back. Its trust decides who may come.
	Serve *route.Node

	// NoSpares leaves everything to the one connection that the claim is made on.
	NoSpares bool

	// Registered is called when the claim has been made, each time. Nil calls nothing.
	Registered func()
}

func (r *Client) to(a ...wire.Address) route.Route {
	return append(append(route.Route(nil), r.Relay...), a...)
}

func (r *Client) registerRoute() route.Route {
	return r.to(wire.Address{Kind: wire.Secure, Name: route.SecureName}, wire.Address{Kind: wire.Service, Name: RegisterName})
}

func (r *Client) spareRoute() route.Route {
	return r.to(wire.Address{Kind: wire.Service, Name: SpareName})
}

func (r *Client) kind() byte {
	if r.NoSpares {
		return muxOnly
	}
	return withSpares
}

// Check tells whether the relay's route and the name can be used.
func (r *Client) Check() error {
	if err := route.CheckDialable(r.registerRoute()); err != nil {
		return err
	}
	return route.Forward(r.Name).Validate()
}

// Run keeps the claim until ctx ends, or Serve shuts down: it is not made again then, for it may be another process's by
// now. Failures are logged when they begin or change, not each time.
func (r *Client) Run(ctx context.Context) {
	release := r.Serve.Claim(route.ForwardPrefix + r.Name)
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	var old leftovers
	defer old.wait()
	defer cancel()
	var retry route.Backoff
	var last string
	for !r.Serve.IsDraining() {
		lived, err := r.register(ctx, &old)
		if ctx.Err() != nil || r.Serve.IsDraining() {
			return
		}
		if text := err.Error(); text != last || lived > 0 {
			r.Dial.Warn("not registered, and goes on trying", err, "relay", route.Format(r.Relay), "name", r.Name)
			last = text
		}
		if errors.Is(err, errSuperseded) {
			lived = 0 // two that take the name from each other do so ever more rarely
		}
		if !retry.Wait(ctx, lived, err, nil) {
			return
		}
	}
}

// Once makes the claim and gives it up again: it tells whether the claim can be made.
func (r *Client) Once(ctx context.Context) error {
	c, err := r.claim(ctx)
	if err != nil {
		return err
	}
	return c.stream.Close()
}

// register makes the claim, and returns when it is lost or the relay says that it is going away, and how long it had it.
// In the latter case what the relay has forwarded goes on, among what is left over.
func (r *Client) register(ctx context.Context, old *leftovers) (lived time.Duration, err error) {
	claiming, cancel := context.WithTimeout(ctx, route.DefaultConnectTimeout)
	defer cancel()
	c, err := r.claim(claiming)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	r.Serve.Logger().Info("registered", "relay", route.Format(r.Relay), "name", r.Name)
	if r.Registered != nil {
		r.Registered()
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	left := c.left()
	old.tasks.Go(func() {
		defer stop()
		ended <- c.serve(serving)
	})
	select {
	case err = <-ended:
	case <-left:
		old.tasks.Go(func() { c.announce(serving) })
		old.add(stop)
		err = fmt.Errorf("registration: %w", channel.ErrGoingAway)
	}
	return time.Since(began), err
}

// leftovers are claims on relays that are going away, for as long as those last.
type leftovers struct {
	tasks sync.WaitGroup
	ends  []context.CancelFunc // the oldest first
}

// maxLeftovers is how many there may be: a relay that only says that it goes could have an outlet hold ever more.
const maxLeftovers = 8

// add has end called when too many have come after.
func (l *leftovers) add(end context.CancelFunc) {
	if len(l.ends) == maxLeftovers {
		l.ends[0]()
		l.ends = l.ends[1:]
	}
	l.ends = append(l.ends, end)
}

func (l *leftovers) wait() { l.tasks.Wait() }
