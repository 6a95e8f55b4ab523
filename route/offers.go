package route

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Handler serves one request. The request's link is closed when it returns. An error is logged, and
// told to the asker if the request has been neither accepted nor refused: a *StatusError as it is,
// anything else without its text.
type Handler func(ctx context.Context, q *Request) error

// Service is what a name on a node stands for.
type Service struct {
	Handler Handler
	// Admit is asked before somebody who only wants to know is told that the service is there: an
	// error is told to him as a Handler's is. Nil has everybody be told so.
	Admit func(q *Request) error

	Asks  bool // Handler answers who only wants to know as well: only others know that
	Open  bool // to everybody who reaches the node, without a channel too
	Waits bool // for others, most of its life: no limit counts it, and no shutdown waits for it
}

// Resolver finds what serves a name that a node has not offered itself. It is called for each
// request, at the same time for several, before the request counts for any limit: it has to be
// quick, and ctx ends with the node. No Handler and no error is that there is no such service; an
// error is told to the asker as a Handler's is. Whatever it finds is open.
type Resolver func(ctx context.Context, name string) (Service, error)

// offers is what a node offers, and by what names it goes. It has a lock of its own.
type offers struct {
	mu        sync.Mutex
	services  map[string]Service
	resolvers []resolver     // no prefix begins another one
	byName    bool           // the empty name has to be claimed too
	names     map[string]int // how many times each has been claimed

	instance string // which process the node is, of those that share a name
	shares   int    // how many times that has been said
}

// resolver finds the services whose names begin with a prefix.
type resolver struct {
	prefix string
	open   bool // to everybody
	find   Resolver
}

func newOffers(byName bool) offers {
	return offers{
		byName: byName, services: make(map[string]Service), names: make(map[string]int),
	}
}

func (o *offers) set(name string, s Service) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.services[name] = s
}

func (o *offers) remove(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.services, name)
}

func (o *offers) setResolver(prefix string, open bool, find Resolver) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resolvers = append(slices.DeleteFunc(o.resolvers, func(r resolver) bool {
		return r.prefix == prefix
	}), resolver{prefix, open, find})
}

// resolverLocked returns the resolver that a name is for, and what follows its prefix.
func (o *offers) resolverLocked(name string) (r resolver, rest string, ok bool) {
	for _, r := range o.resolvers {
		if rest, ok := strings.CutPrefix(name, r.prefix); ok {
			return r, rest, true
		}
	}
	return resolver{}, "", false
}

// resolve returns the service of a name: one that is offered, or that a resolver finds.
func (o *offers) resolve(ctx context.Context, name string) (s Service, ok bool, err error) {
	o.mu.Lock()
	s, ok = o.services[name]
	r, rest, ours := o.resolverLocked(name)
	o.mu.Unlock()
	if ok || !ours {
		return s, ok, nil
	}
	s, err = r.find(ctx, rest)
	s.Open = true
	return s, s.Handler != nil, err
}

// isFor tells whether somebody with or without a session may ask for a name at all.
func (o *offers) isFor(name string, trusted bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, offered := o.services[name]
	r, _, ours := o.resolverLocked(name)
	return trusted || offered || !ours || r.open
}

// claim adds a name until release is called, once.
func (o *offers) claim(name string) (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names[name]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.names[name]--; o.names[name] == 0 {
			delete(o.names, name)
		}
	}
}

// share has the node say which process it is until release is called, once.
func (o *offers) share(instance string) (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.instance = instance
	o.shares++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.shares--; o.shares == 0 {
			o.instance = ""
		}
	}
}

// sharedAs returns which process the node is, if it shares a name.
func (o *offers) sharedAs() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.instance
}

// accept returns an error if a peer that believes it has reached name has reached another.
func (o *offers) accept(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.names[name] > 0, name == "" && !o.byName:
		return nil
	case name == "":
		return errors.New("the peer asks without a name, and this node goes by one")
	}
	return fmt.Errorf("the peer was led here but wants %q", name)
}

// stays tells whether a step by name, which leads to an outlet, or to one of several processes,
// leads nowhere else: the node is that outlet, or that process. A relay is not the outlets that
// have claimed a name on it, whatever it is called itself.
func (o *offers) stays(name string) bool {
	if own, ok := strings.CutPrefix(name, InstancePrefix); ok {
		return own != "" && own == o.sharedAs()
	}
	if !strings.HasPrefix(name, ForwardPrefix) {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _, isRelay := o.resolverLocked(name)
	return !isRelay && o.names[name] > 0
}
