package relay

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// Client registers an outlet, or whatever else a node serves, under a name on a relay. Its fields
// are not changed once one of its methods has been called.
type Client struct {
	Relay route.Route // to the relay's node, without a service
	Name  string      // to claim there: 1 to 69 letters, digits, dots, dashes and underscores

	// Dial walks the route to the relay. Its trust decides which identity the relay must have: any
	// will do, for what the relay leads here proves to Serve who it is.
	Dial *route.Node
	// Serve serves what the relay leads here. Its trust decides who may come.
	Serve *route.Node

	// MuxOnly makes no standby links: everything goes over the one connection of the claim, at
	// the cost of speed.
	MuxOnly bool

	// Instance says which process this is: the one that had the name last takes it back at once,
	// and another one of the same identity does not while that is there. Zero draws one.
	Instance Instance
	// Replace takes the name from another process of the same identity, until this one has had it:
	// two that replace each other would do so for ever.
	Replace bool

	// Share has the name together with other processes of the same identity that share it, and
	// Replace takes it only from one that does not. Links that ask for the name lead to those that
	// are well.
	Share bool
	// Health tells whether what is served is well, if the name is shared. Nil is that it always is.
	Health Health

	// ClaimTimeout bounds one attempt to claim the name. 0 means route.DefaultConnectTimeout.
	ClaimTimeout time.Duration

	// Registered is called each time the name has been claimed, and Failed each time that could
	// not be done or the name has been lost, before the next attempt. Both are called by Run,
	// which waits for them. Nil calls nothing.
	Registered func()
	Failed     func(error)

	// Nodes is called when the relay says that it is one of a set, whose list of nodes is new to
	// this side. It must not block. Nil calls nothing.
	Nodes func()

	draw   sync.Once          // of Instance
	hadOne bool               // the name, once; for Run
	down   logthrottle.Outage // for Run

	at atomic.Pointer[identity.Identifier] // whose the relay is that has given the name last

	leaving leaving
}

// Health is whether something is well. It is safe for concurrent use.
type Health interface {
	// IsSick tells whether it is not. The channel is closed when that may have changed.
	IsSick() (sick bool, changed <-chan struct{})
}

// Check tells whether the relay's route and the name can be used. It asks nobody.
func (c *Client) Check() error {
	if err := route.CheckDialable(c.registerRoute()); err != nil {
		return err
	}
	return route.Forward(c.Name).Validate()
}

// At returns whose the relay is that has given this side the name last. It reports false before
// that.
func (c *Client) At() (whose identity.Identifier, ok bool) {
	if at := c.at.Load(); at != nil {
		return *at, true
	}
	return identity.Identifier{}, false
}

// Run claims the name, serves what comes by it, and claims it anew whenever it is lost. It returns,
// with all that it has started at its end, when ctx ends, Leave has been called, or Serve is not
// awaited any more. While Serve drains it is claimed anew only as long as no other process has it:
// it is for those who have lost their way to what is open. That it is not claimed is logged at
// once, and then ever more rarely.
func (c *Client) Run(ctx context.Context) {
	release := c.Serve.Claim(route.ForwardPrefix + c.Name)
	defer release()
	defer c.Serve.KeepFound()()
	if c.Share && c.drawInstance() == nil {
		defer c.Serve.Share(c.Instance)()
	}
	ctx, cancel := context.WithCancel(ctx)
	var old departing
	defer old.wait()
	defer cancel()
	claims := c.leaving.begin(ctx)
	retry := c.Dial.NewBackoff()
	for c.Serve.IsAwaited() {
		lived, err := c.register(ctx, claims, &old)
		if c.leaving.isOver() {
			if c.Failed != nil {
				c.Failed(err)
			}
			old.wait() // what is open goes on until it ends, or ctx does
			return
		}
		if ctx.Err() != nil || !c.Serve.IsAwaited() || c.Serve.IsDraining() && isOthers(err) {
			return
		}
		if c.Failed != nil {
			c.Failed(err)
		}
		if ctx.Err() != nil { // Failed has decided that one failure is enough
			return
		}
		if due, since := c.down.Failed(err.Error(), time.Now()); due {
			c.Dial.WarnDown("not registered, and goes on trying", err, since,
				"relay", route.Format(c.Relay), "name", c.Name)
		}
		if errors.Is(err, errSuperseded) {
			lived = 0 // two that take the name from each other do so ever more rarely
		}
		if !retry.Wait(claims, lived, err, nil) {
			return
		}
	}
}

// register claims the name, and returns when it is lost, given up, or the relay is going away, and
// how long the registration lived. In the latter case what the relay has led here goes on, among
// old. It is not claimed once claims has ended.
func (c *Client) register(
	ctx, claims context.Context, old *departing,
) (lived time.Duration, err error) {
	r, err := c.claimInTurn(claims)
	if err != nil {
		return 0, err
	}
	c.hadOne = true
	began := time.Now()
	logger := c.Serve.Logger().With("relay", route.Format(c.Relay), "name", c.Name)
	if s := r.stream.Session(); s != nil {
		whose := s.Peer().Identifier()
		c.at.Store(&whose)
		logger = logger.With("identifier", whose)
	}
	if !c.leaving.hold(true) {
		_ = r.stream.Close()
		return 0, errLeft
	}
	defer c.leaving.hold(false)
	defer c.Serve.LedBy(c.Dial, c.Relay)()
	var about []any
	if down := c.down.Ended(began); down > 0 {
		about = append(about, "was down", down.Round(time.Millisecond).Seconds())
	}
	logger.Info("registered", about...)
	if c.Registered != nil {
		c.Registered()
	}
	err = r.live(ctx, old)
	logger.Info("name lost", "reason", err)
	return time.Since(began), err
}

// claimInTurn claims the name when it is this client's turn.
func (c *Client) claimInTurn(claims context.Context) (*registration, error) {
	done, ok := AwaitTurn(claims, c.Relay)
	if !ok {
		return nil, context.Cause(claims)
	}
	defer done()
	limit := cmp.Or(c.ClaimTimeout, route.DefaultConnectTimeout)
	claiming, cancel := context.WithTimeout(claims, limit)
	defer cancel()
	return c.claim(claiming)
}

func (c *Client) to(a ...wire.Address) route.Route {
	return append(append(route.Route(nil), c.Relay...), a...)
}

func (c *Client) registerRoute() route.Route {
	return c.to(
		wire.Address{Kind: wire.Secure, Name: route.SecureName},
		wire.Address{Kind: wire.Service, Name: RegisterName},
	)
}

func (c *Client) standbyRoute() route.Route {
	return c.to(wire.Address{Kind: wire.Service, Name: StandbyName})
}

// asks returns what this side claims.
func (c *Client) asks() (claim, error) {
	err := c.drawInstance()
	return claim{
		muxOnly: c.MuxOnly, replace: c.Replace && !c.hadOne && !c.Serve.IsDraining(),
		outlives: c.Serve.Outlives(),
		shares:   c.Share, instance: c.Instance, name: c.Name,
	}, err
}

// isOthers tells whether a name was not claimed, or was lost, because another process has it.
func isOthers(err error) bool {
	var refused *route.StatusError
	return errors.Is(err, errSuperseded) ||
		errors.As(err, &refused) && !refused.Hearsay && refused.Code == wire.NameTaken
}

func (c *Client) drawInstance() (err error) {
	c.draw.Do(func() {
		if c.Instance == (Instance{}) {
			c.Instance, err = NewInstance()
		}
	})
	return err
}

// departing is the registrations on relays that are going away, as long as those last. It belongs
// to one goroutine.
type departing struct {
	tasks sync.WaitGroup
	ends  []context.CancelFunc // the oldest first
}

// add has end called when too many have come after.
func (d *departing) add(end context.CancelFunc) {
	if len(d.ends) == maxDeparting {
		d.ends[0]()
		d.ends = d.ends[1:]
	}
	d.ends = append(d.ends, end)
}

func (d *departing) wait() { d.tasks.Wait() }
