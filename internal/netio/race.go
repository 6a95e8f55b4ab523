package netio

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// connectDelay is after which the next address of a name is dialed beside those that have not
	// answered: RFC 8305, section 5, whether or not it is of another family.
	connectDelay = 250 * time.Millisecond

	// maxAddresses is how many addresses of a name are dialed.
	maxAddresses = 32

	// helpsFor is how long an address goes first that has worked where the first did not.
	helpsFor = 10 * time.Minute

	// maxHelpers is how many names this is remembered for.
	maxHelpers = 1024
)

// lookUp returns the addresses that host stands for, in the order in which they are to be dialed.
func lookUp(ctx context.Context, host, port string) ([]netip.AddrPort, error) {
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	if isLocalhost(host) {
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(number)),
			netip.AddrPortFrom(netip.IPv6Loopback(), uint16(number)),
		}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, 0, len(found))
	for _, ip := range found {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return interleave(all), nil
}

// isLocalhost tells whether host is the name for which no name service is asked, whatever files of
// this machine may be missing: RFC 6761, section 6.3.
func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// interleave has the two families take turns, beginning with the one that came first: RFC 8305,
// section 4.
func interleave(all []netip.AddrPort) []netip.AddrPort {
	var first, second []netip.AddrPort
	for _, a := range all {
		if a.Addr().Is4() == all[0].Addr().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	mixed := make([]netip.AddrPort, 0, len(all))
	for i := range max(len(first), len(second)) {
		mixed = append(mixed, first[min(i, len(first)):min(i+1, len(first))]...)
		mixed = append(mixed, second[min(i, len(second)):min(i+1, len(second))]...)
	}
	return mixed
}

// Race makes a connection to host:port with one, at whichever of the addresses that host stands for
// answers: in turn, as RFC 8305 says. It waits for those that one is still busy with.
func Race(ctx context.Context, address string,
	one func(context.Context, netip.AddrPort) (net.Conn, error),
) (net.Conn, error) {
	if at, err := netip.ParseAddrPort(address); err == nil {
		return one(ctx, at)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	all, err := lookUp(ctx, host, port)
	if err != nil {
		return nil, err
	}
	return race(ctx, address, all, one)
}

// race dials the addresses that name stands for with one, and returns the first connection that
// comes about. Each address but the first sets out when the one before it has failed, or has not
// answered for connectDelay. Where others than the first have had to help out, the one that worked
// last goes first for a while: an address that swallows packets costs a moment once. The error is
// that of the address that was dialed first. It returns when nothing is being dialed any more.
func race(ctx context.Context, name string, all []netip.AddrPort,
	one func(context.Context, netip.AddrPort) (net.Conn, error),
) (net.Conn, error) {
	best := all[0]
	all = worked.first(name, all, time.Now())
	all = all[:min(len(all), maxAddresses)]
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan finish, len(all))
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	errs := make([]error, len(all))
	next := time.NewTimer(0)
	defer next.Stop()
	for started, failed := 0, 0; failed < len(all); {
		select {
		case <-next.C:
			lane, at := started, all[started]
			tasks.Go(func() {
				c, err := one(ctx, at)
				results <- finish{lane, c, err}
			})
			if started++; started < len(all) {
				next.Reset(connectDelay)
			}
		case r := <-results:
			if r.err == nil {
				worked.note(name, all[r.lane], best, time.Now())
				tasks.Go(func() { closeOthers(results, started-failed-1) })
				return r.conn, nil
			}
			errs[r.lane] = r.err
			if failed++; started < len(all) {
				next.Reset(0)
			}
		}
	}
	return nil, errs[0]
}

// finish is how the dialing of one address has ended.
type finish struct {
	lane int
	conn net.Conn
	err  error
}

// closeOthers closes the connections that have come too late, of those that are under way.
func closeOthers(results <-chan finish, n int) {
	for range n {
		if r := <-results; r.err == nil {
			_ = r.conn.Close()
		}
	}
}

// worked is which address of a name has had to help out, in this process. Names whose first address
// answers are not in it: whoever spreads load by the order of addresses goes on doing so.
var worked = memory{last: make(map[string]helper)}

// memory is safe for concurrent use.
type memory struct {
	mu   sync.Mutex
	last map[string]helper
}

type helper struct {
	at    netip.AddrPort
	since time.Time
}

// first returns all with the one that helps out in front.
func (m *memory) first(name string, all []netip.AddrPort, now time.Time) []netip.AddrPort {
	m.mu.Lock()
	h, ok := m.last[name]
	if ok && now.Sub(h.since) > helpsFor {
		delete(m.last, name)
		ok = false
	}
	m.mu.Unlock()
	i := slices.Index(all, h.at)
	if !ok || i <= 0 {
		return all
	}
	return append([]netip.AddrPort{h.at}, slices.Delete(slices.Clone(all), i, i+1)...)
}

// note remembers that at has worked where best should have, in place of any other name if there are
// too many.
func (m *memory) note(name string, at, best netip.AddrPort, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.last[name]
	switch {
	case at == best:
		delete(m.last, name)
		return
	case ok && h.at == at: // for helpsFor from the first time on
		return
	case len(m.last) >= maxHelpers:
		for other := range m.last {
			delete(m.last, other)
			break
		}
	}
	m.last[name] = helper{at, now}
}
