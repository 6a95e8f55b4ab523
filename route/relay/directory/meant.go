package directory

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// isMeant tells whether an address that somebody on the bus has named may be dialed. One of this
// machine, of its host or of a private network is only believed where this relay is at such an
// address for others itself; and its own is not one that it is to go to.
func isMeant(a route.Address, own []route.Address) bool {
	if slices.Contains(own, a) {
		return false
	}
	kind := special(a)
	return kind == "" || slices.ContainsFunc(own, func(o route.Address) bool {
		return special(o) == kind
	})
}

// Kinds of addresses that are not the same for everybody, besides those nobody may name.
const (
	loopback = "loopback"
	private  = "private"
)

// special names what an address is that is not the same for everybody.
func special(a route.Address) string {
	name, ip := a.Host()
	switch {
	case name != "" && transport.MustBeWritten(netip.IPv4Unspecified(), name) &&
		!transport.MustBeWritten(netip.AddrFrom4([4]byte{127, 0, 0, 1}), name):
		return loopback // localhost and its like
	case name != "":
		return ""
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast():
		return "nobody"
	}
	ip = ip.Unmap()
	switch {
	case ip.IsLoopback():
		return loopback
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsPrivate():
		return private
	case transport.MustBeWritten(ip, ""):
		return "special"
	}
	return ""
}

// Reach returns what keeps a name that somebody on the bus has said from leading where its address
// would not: to what a name that it stands for is nobody's to say, and into private networks in
// which this relay is not for others. Addresses of its own set's nodes, which inSet tells, are said
// by who is trusted, and may be in private networks. It is for route.Config.
func Reach(
	own []route.Address, inSet func(route.Address) bool,
) func(route.Address, netip.Addr) error {
	names := ownNames{own: own}
	return func(a route.Address, ip netip.Addr) error {
		if slices.Contains(own, a) {
			return nil
		}
		name, _ := a.Host()
		there := special(transport.FromAddrPort(netip.AddrPortFrom(ip, a.Port)))
		switch {
		case there == "":
			return nil
		case slices.ContainsFunc(own, func(o route.Address) bool { return special(o) == there }):
			return nil
		case there == private && !transport.MustBeWritten(ip, name) && (inSet(a) || names.arePrivate()):
			return nil
		case there == loopback && !transport.MustBeWritten(ip, name):
			return nil // localhost, which only who is believed has said
		}
		return transport.ErrWithheld
	}
}

// Limits of looking up where this relay's own names lead.
const (
	ownTimeout = 2 * time.Second  // for all of them
	ownFor     = 30 * time.Second // for which that is taken for true
)

// ownNames tells where this relay is that is for others at names.
type ownNames struct {
	own []route.Address

	mu      sync.Mutex
	private bool
	until   time.Time // for which that is taken for true
}

// arePrivate tells whether one of the names stands for an address in a private network.
func (o *ownNames) arePrivate() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Now().Before(o.until) {
		return o.private
	}
	ctx, cancel := context.WithTimeout(context.Background(), ownTimeout)
	defer cancel()
	o.private = slices.ContainsFunc(o.own, func(a route.Address) bool {
		name, _ := a.Host()
		if name == "" {
			return false
		}
		found, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		return slices.ContainsFunc(found, func(ip netip.Addr) bool { return ip.Unmap().IsPrivate() })
	})
	o.until = time.Now().Add(ownFor)
	return o.private
}
