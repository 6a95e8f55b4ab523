package daemon

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
)

// site is what the portals of one node configuration stand on: who they are, whom they trust,
// and the nodes. It is safe for concurrent use.
type site struct {
	// Set once.
	name   string      // of its configuration; empty where there is one
	config config.Node // but for its Drain, and what it says of the process's memory
	selfFiles
	options   Options
	logger    *slog.Logger
	self      *identity.Identity // as it was at the start
	ticket    *identity.Ticket   // to redeem; nil for none
	presented *presented
	tls       *tlsFiles
	acme      *acmeCertificates // nil if none are asked for
	proxies   *proxies
	brokers   *brokers.Logins // nil for none
	trust     trust.Config    // what all policies have in common
	base      route.Config    // and all nodes
	main      *member         // of inlets and outlets
	open      *connections    // on main
	ports     []uint16        // for direct ways
	instance  relay.Instance  // which process this is, for relays
	health    health          // of its targets
	changed   func()          // is told that a part has come up; never nil
	notify    func(Event)     // never nil
	turned    chan<- struct{} // gets something when a connection has begun or ended
	sockets   *transport.Sockets

	outlets atomic.Pointer[[]config.Outlet] // which tickets are for here
	drain   atomic.Int64                    // nanoseconds

	rereading sync.Mutex // held while files are read

	mu      sync.Mutex // guards what follows
	members map[*member]struct{}
	parts   map[string]part
}

// sameNode tells whether two nodes are, but for what can change: their Drain, and what they say of
// the memory, which is the process's.
func sameNode(a, b config.Node) bool {
	for _, n := range []*config.Node{&a, &b} {
		n.Drain, n.SurviveMemory, n.Limits.Memory = 0, "", ""
	}
	return keyOf("node", a) == keyOf("node", b)
}

func (s *site) drainTime() time.Duration { return time.Duration(s.drain.Load()) }

func (s *site) allMembers() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.members))
}

func (s *site) allParts() []part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.parts))
}

func (s *site) turnover() uint64 {
	var n uint64
	for _, m := range s.allMembers() {
		n += m.node.Turnover()
	}
	return n
}

func (s *site) stopListening() {
	for _, p := range s.allParts() {
		p.stopListening()
	}
}

// shutdown has the nodes that others reach say that they go away, and wait for what is open,
// until ctx ends.
func (s *site) shutdown(ctx context.Context) error {
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, m := range s.allMembers() {
		if m.dials {
			continue
		}
		tasks.Go(func() {
			err := m.shutdown(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	tasks.Wait()
	return errors.Join(errs...)
}

// close ends all nodes and parts at once, and waits for it.
func (s *site) close() error {
	var errs []error
	for _, m := range s.allMembers() {
		if !m.dials {
			errs = append(errs, m.node.Close())
		}
	}
	for _, p := range s.allParts() {
		p.end(endedContext())
	}
	for _, m := range s.allMembers() {
		errs = append(errs, m.node.Close())
	}
	return errors.Join(errs...)
}

// files are those that the site's nodes read again when they change.
func (s *site) files() []string {
	return slices.Concat([]string{s.key}, s.config.Credentials, s.lists(), s.tls.paths(),
		s.proxies.paths())
}

// lists are those of the site's files that say whom to trust.
func (s *site) lists() []string {
	return slices.Concat(s.trust.AllowFiles, s.trust.AllowLater, s.trust.DenyFiles)
}

// reread reads the lists, and what the node presents of itself, which the far ends hear of at
// once. It reads all files if all is set, and else those that have changed.
func (s *site) reread(all bool) {
	s.rereading.Lock()
	defer s.rereading.Unlock()
	members := s.allMembers()
	for _, m := range members {
		s.rereadLists(m, all)
	}
	s.tls.refresh(all)
	s.proxies.refresh(all)
	if !s.presented.refresh(all) {
		return
	}
	if err := s.observeSelf(s.presented.identity()); err != nil {
		s.logger.Error("own key", "error", err)
	}
	for _, m := range members {
		m.node.Renew()
	}
}

// rereadLists reads the lists of one policy.
func (s *site) rereadLists(m *member, all bool) {
	before := m.policy.Changed()
	read := m.policy.Poll
	if all {
		read = m.policy.Reload
	}
	if err := read(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") { // joined errors
			s.logger.Error("list not read", "error", line)
		}
	}
	select {
	case <-before:
		s.logger.Info("the lists have changed")
	default:
	}
}
