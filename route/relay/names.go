package relay

import (
	"strings"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/sorting"
)

// Name is a name that an outlet holds on a relay.
type Name struct {
	Name    string
	Session *channel.Session // of the claim
	Standby int              // links that wait to be used
	InUse   int              // links that lead to the outlet now
}

// Names returns the names that outlets hold on the relay, in their order.
func (s *Server) Names() []Name {
	s.mu.Lock()
	all := make([]Name, 0, len(s.leases))
	leases := make([]*Lease, 0, len(s.leases))
	for _, l := range s.leases {
		leases = append(leases, l)
	}
	s.mu.Unlock()
	for _, l := range leases {
		all = append(all, Name{
			Name: l.name, Session: l.session, Standby: l.parked.number(), InUse: l.used.number(),
		})
	}
	sorting.Func(all, func(a, b Name) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// number is how many wait to be used.
func (p *pool) number() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// number is how many there are.
func (u *inUse) number() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.links)
}
