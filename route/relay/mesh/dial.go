package mesh

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// When nodes are looked for.
const (
	lookUpAgain  = 30 * time.Second // which addresses the seeds' names stand for
	lookUpTime   = 5 * time.Second  // for one lookup
	selfAgain    = 10 * time.Minute // whether an address is still this node's
	maxLookedUp  = 64               // addresses of one name
	unansweredIn = 20               // attempts, before an address that was only heard of is forgotten
)

// keepDialing dials every address at which a node may be, until ctx ends.
func (m *Mesh) keepDialing(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	var mu sync.Mutex
	dialing := make(map[route.Address]bool)
	again := time.NewTicker(lookUpAgain)
	defer again.Stop()
	var down logthrottle.Outage
	seeds := m.lookUpSeeds(ctx, &down)
	for {
		changed := m.Changed()
		for a, isSeed := range m.targets(seeds) {
			mu.Lock()
			known := dialing[a]
			dialing[a] = true
			mu.Unlock()
			if known {
				continue
			}
			tasks.Go(func() {
				m.keepJoined(ctx, a, isSeed)
				mu.Lock()
				defer mu.Unlock()
				delete(dialing, a)
			})
		}
		select {
		case <-changed:
		case <-again.C:
			if found := m.lookUpSeeds(ctx, &down); len(found) > 0 {
				seeds = found
			}
			m.complainOfNoAddress()
		case <-ctx.Done():
			return
		}
	}
}

// targets returns where nodes may be, and which of that has been configured.
func (m *Mesh) targets(seeds []route.Address) map[route.Address]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[route.Address]bool)
	for a := range m.learned {
		all[a] = false
	}
	for _, a := range seeds {
		all[a] = true
	}
	for _, a := range m.config.Addresses {
		delete(all, a)
	}
	return all
}

// lookUpSeeds returns all addresses that the seeds stand for.
func (m *Mesh) lookUpSeeds(ctx context.Context, down *logthrottle.Outage) (all []route.Address) {
	var failed error
	for _, seed := range m.config.Seeds {
		looking, cancel := context.WithTimeout(ctx, lookUpTime)
		found, err := transport.LookUp(looking, seed)
		cancel()
		if err != nil {
			failed = err
		}
		all = append(all, found[:min(len(found), maxLookedUp)]...)
	}
	if failed == nil || ctx.Err() != nil {
		down.Ended(time.Now())
		return all
	}
	if due, since := down.Failed(failed.Error(), time.Now()); due {
		m.config.Dial.WarnDown("where the relays of the set are is not found, and looked up again",
			failed, since)
	}
	return all
}

// keepJoined keeps a link to the node at an address until ctx ends. An address that was only heard
// of is given up if nobody ever answers there.
func (m *Mesh) keepJoined(ctx context.Context, at route.Address, isSeed bool) {
	defer m.reached(at) // or nobody looks any more
	retry := m.config.Dial.NewBackoff()
	var down logthrottle.Outage
	for failed := 0; ; failed++ {
		lived, err := m.join(ctx, at)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errSelf) {
			m.reached(at)
			select {
			case <-time.After(selfAgain):
				continue
			case <-ctx.Done():
				return
			}
		}
		m.notReached(at, err)
		if lived > 0 {
			failed = 0
			down.Ended(time.Now())
		}
		if due, since := down.Failed(err.Error(), time.Now()); due && (isSeed || lived > 0) {
			m.config.Dial.WarnDown("a relay of the set is not reached, and tried again", err, since,
				"at", transport.Format(at))
		}
		if !isSeed && failed >= unansweredIn {
			m.forgetAddress(at)
			return
		}
		if !retry.Wait(ctx, lived, err, nil) {
			return
		}
	}
}

func (m *Mesh) forgetAddress(at route.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.learned, at)
}

// complainOfNoAddress says, once, that nobody can come here, if this node does not know where it
// is.
func (m *Mesh) complainOfNoAddress() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.self.Addresses) == 0 && !m.lonely {
		m.lonely = true
		m.logger.Warn("the set does not know where this relay is: " +
			"say it with --advertise HOST:PORT")
	}
}
