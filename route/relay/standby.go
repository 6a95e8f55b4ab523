package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/route"
)

var standbyNow = metrics.NewGauge("standby_links_waiting",
	"standby links to relays that wait to be used, or are being made")

// standby keeps links open to the relay that wait to be used: as many as are wanted. At first that
// is none, and it is none again when the relay says that nobody uses the name. Each demand of the
// relay's doubles that number, and each link that the relay closes unused takes one away. A link's
// life, in one goroutine:
//
//	dialing ──► waiting ──► used: another one may be made in its place
//	   │           └──► closed by the relay: one less is wanted ──┐
//	   └──► failed ───────────────────────────────────────────────┴──► pause, and again
type standby struct {
	client *Client
	key    standbyKey
	beside *channel.Session // with the relay that knows the key; nil goes where the name leads
	number atomic.Uint64    // of the last link

	wake chan struct{} // gets something when keep may have something to do

	mu      sync.Mutex
	want    int
	waiting int // links that are being made or wait
	owed    int // links to be made however many wait, since the relay waits for them
}

func newStandby(c *Client, key standbyKey, beside *channel.Session) *standby {
	return &standby{
		client: c, key: key, beside: beside, wake: make(chan struct{}, 1),
	}
}

// demand takes note that n links were wanted and not there: they are made at once, and more kept
// from now on.
func (s *standby) demand(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed = min(s.owed+n, maxStandby)
	s.want = min(max(s.want*2, n, fewStandby), maxStandby)
	s.poke()
}

// wantNone has no link kept until the next demand. Those that wait are the relay's to close: it may
// be about to use one.
func (s *standby) wantNone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = 0
}

func (s *standby) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// serveFunc serves a link that is used, and calls ended when that is over. It reports false, and
// does nothing, if it serves nothing any more.
type serveFunc = func(link *route.Stream, q *route.Request, ended func()) bool

// keep makes links whenever there are too few, and has serve serve those that are used. It returns
// when ctx has ended, and with it all links that wait.
func (s *standby) keep(ctx context.Context, serve serveFunc) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		for range s.takeMissing() {
			tasks.Go(func() { s.one(ctx, serve) })
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}

// takeMissing returns how many links are to be made, and counts them.
func (s *standby) takeMissing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := max(min(max(s.want-s.waiting, s.owed), maxMaking-s.waiting), 0)
	s.waiting += missing
	s.owed = 0
	standbyNow.Add(int64(missing))
	return missing
}

// gone takes note that a link does not wait any more.
func (s *standby) gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	standbyNow.Dec()
	s.poke()
}

// wantLess has one link less kept, if there are more than a few.
func (s *standby) wantLess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = max(s.want-1, min(s.want, fewStandby))
}

// one makes one link, and has it served when it is used. It counts as waiting until then, or, if it
// comes to nothing soon, until the pause before the next one is over. One that has waited for
// longer, and that a box in the middle may have ended for that, is made anew at once.
func (s *standby) one(ctx context.Context, serve serveFunc) {
	gone := sync.OnceFunc(s.gone)
	defer gone()
	began := time.Now()
	var link *route.Stream
	var q *route.Request
	ended, err := s.client.Serve.CountStandbyLink()
	if err == nil {
		if link, q, err = s.await(ctx); err != nil {
			ended()
		}
	}
	if err != nil {
		s.client.Serve.Logger().Debug("no standby link",
			"relay", route.Format(s.client.Relay), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(standbyRetry - time.Since(began)):
		}
		return
	}
	gone()
	if !serve(link, q, ended) {
		ended()
		_ = link.Close()
	}
}

// await makes a link, and returns when it is used.
func (s *standby) await(ctx context.Context) (*route.Stream, *route.Request, error) {
	link, err := s.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = link.Close() })
	q, err := s.client.Serve.ReadRequest(link)
	switch {
	case !stop():
		err = ctx.Err()
	case err == nil:
		return link, q, nil
	default: // most likely the relay has closed it: there are enough
		s.wantLess()
	}
	_ = link.Close()
	return nil, nil, err
}

// dial makes a link to the relay, which parks it.
func (s *standby) dial(ctx context.Context) (*route.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, route.DefaultConnectTimeout)
	defer cancel()
	proof := s.key.appendProof(nil, s.number.Add(1))
	if s.beside == nil {
		return s.client.Dial.OpenAndAwait(ctx, s.client.standbyRoute(), 0, proof)
	}
	return s.client.Dial.OpenBeside(ctx, s.beside, s.client.standbyRoute(), proof)
}
