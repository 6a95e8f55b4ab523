package route

import (
	"context"
	"fmt"
	"sync"
)

// Handler serves one request. The request's link is closed when it returns. An error is logged, and
// told to the asker if the request has been neither accepted nor refused: a *StatusError as it is,
// anything else without its text.
type Handler func(ctx context.Context, q *Request) error

// Service is what a name on a node stands for.
type Service struct {
	Handler Handler
	Open    bool // to everybody who reaches the node, without a channel too
	Waits   bool // for others, most of its life: no limit counts it, and no shutdown waits for it
}

// offers is what a node offers, and by what names it goes. It has a lock of its own.
type offers struct {
	mu       sync.Mutex
	services map[string]Service
	names    map[string]int // how many times each has been claimed on relays
}

func newOffers() offers {
	return offers{services: make(map[string]Service), names: make(map[string]int)}
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

func (o *offers) get(name string) (Service, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, ok := o.services[name]
	return s, ok
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

// accept returns an error if a peer that believes it has reached name has reached another.
func (o *offers) accept(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name == "" || o.names[name] > 0 {
		return nil
	}
	return fmt.Errorf("the peer was led here but wants %q", name)
}
