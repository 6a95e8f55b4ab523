package daemon

import (
	"context"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/relay/homes"
)

// registration is the part of a portal that keeps a claim of a name on one relay, or on those of
// its set where the name is at home.
type registration struct {
	site   *site
	member *member // that others reach by it
	relay  string
	config config.Entrance // Name, RelayIdentities, Mux, Share and NoWait of it

	claims  *homes.Outlet
	dialer  *member
	stop    context.CancelFunc
	running sync.WaitGroup
	ending  sync.Once

	mu  sync.Mutex // guards what follows
	up  bool
	err error // why it is not up
}

// claimKey begins the key of every registration of a name on a relay, whatever its terms. Those
// of relays and bridges are no parts of the site's.
func claimKey(relay, name string) string { return "registration " + relay + " " + name + " " }

func (s *site) planRegistration(m *member, relay string, e config.Entrance) planned {
	terms := config.Entrance{RelayIdentities: e.RelayIdentities, Mux: e.Mux, Share: e.Share}
	return planned{
		key: keyOf(claimKey(relay, e.Name), terms),
		make: func() part {
			return &registration{site: s, member: m, relay: relay, config: e}
		},
	}
}

func (r *registration) start(ctx context.Context) (err error) {
	r.claims, r.dialer, err = r.site.newClaims(r.member, r.relay, r.config, r.failed)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.claims.Registered = r.registered
	var first <-chan error
	if r.config.NoWait {
		first = r.awaitFirst(running)
	}
	r.running.Go(func() { r.claims.Run(running) })
	if first == nil {
		return nil
	}
	select {
	case err = <-first:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		r.end(endedContext())
		return r.problem(err)
	}
	return nil
}

// awaitFirst returns what the first attempt to claim the name comes to. If it fails there is no
// other: the claims do nothing more until running ends.
func (r *registration) awaitFirst(running context.Context) <-chan error {
	first := make(chan error, 1)
	var once sync.Once
	r.claims.Registered = func() {
		once.Do(func() { first <- nil })
		r.registered()
	}
	r.claims.Failed = func(err error) {
		once.Do(func() {
			first <- err
			<-running.Done()
		})
	}
	return first
}

// failed takes note of why the claim could not be made or was lost, and returns the hint for it.
func (r *registration) failed(err error) string {
	r.mu.Lock()
	r.up, r.err = false, err
	r.mu.Unlock()
	if r.site.options.Hint == nil {
		return ""
	}
	return r.site.options.Hint(r.problem(err))
}

func (r *registration) problem(err error) error {
	return &Error{Problem: RelayFailed, Err: err, Self: r.site.self.Identifier()}
}

func (r *registration) registered() {
	r.mu.Lock()
	r.up, r.err = true, nil
	r.mu.Unlock()
	r.site.changed()
}

func (r *registration) stopListening() {}

// withdraw leaves the claim alone: what the relay has passed on so far goes through it.
func (r *registration) withdraw() {}

// end waits for the connections that may have come by the relay: which ones have is not known.
func (r *registration) end(ctx context.Context) {
	if r.member == r.site.main {
		r.site.open.await(ctx, r.site.open.of(nil))
	}
	r.ending.Do(func() {
		r.stop()
		r.running.Wait()
		r.site.closeMember(r.dialer)
	})
}

func (r *registration) state() partState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return partState{entrance: true, name: r.config.Name, up: r.up, err: r.err}
}
