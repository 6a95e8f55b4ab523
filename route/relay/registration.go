package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/mux"
)

var registrationsNow = metrics.NewGauge("registrations", "names that this side holds on relays")

// registration is a name that a relay has given to this side, on the outlet's side. Its life:
//
//	claimed ──► serving ──┬──────────────────► lost ──► over
//	               │      └──► relay goes away ──┴────►
//	               └──► node has served all ──► finishing ──► over
//
//	claimed          the relay has agreed, and sent the key for standby links
//	serving          links come in the mux and by standby links
//	relay goes away  the name is being claimed anew beside this; what comes or has come goes on
//	lost             the mux has ended, or the same identity has claimed the name anew
//	finishing        sessions that come by the relay end in good order, and then the mux
//	over             no link from the relay is being served
type registration struct {
	client  *Client
	stream  *route.Stream // to the relay's register service
	standby *standby
	relayed *route.Relayed
	voucher voucher

	superseded atomic.Bool // the relay has said so
	links      linkSet     // that the relay has led here and that are being served
}

// claim claims the name.
func (c *Client) claim(ctx context.Context) (*registration, error) {
	what, err := c.asks()
	if err != nil {
		return nil, err
	}
	s, err := c.Dial.OpenAndAwait(ctx, c.registerRoute(), 0, what.appendTo(nil))
	if err != nil {
		return nil, err
	}
	key, err := readKey(s)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.Background()
	r := &registration{
		client: c, stream: s, standby: newStandby(c, key, s.Session()),
		relayed: c.Serve.Relayed(route.Format(c.Relay)), voucher: voucher{since: time.Now()},
	}
	r.relayed.Answer(VouchName, r.vouch)
	return r, nil
}

// readKey reads the key for standby links that comes with the relay's consent.
func readKey(s *route.Stream) (standbyKey, error) {
	var b [keySize]byte
	_ = s.SetReadDeadline(time.Now().Add(keyTimeout))
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return standbyKey{}, err
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return standbyKey{}, err
	}
	return parseStandbyKey(b[:])
}

// relayGoesAway returns a channel that is closed when the relay has said that it is going away.
func (r *registration) relayGoesAway() <-chan struct{} {
	if s := r.stream.Session(); s != nil {
		return s.GoingAway()
	}
	return nil
}

// live serves what the relay leads here until the name is lost, given up, or the relay goes away,
// and says which. What the relay has led here before it goes away goes on, among old.
func (r *registration) live(ctx context.Context, old *departing) error {
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	over := make(chan struct{})
	old.tasks.Go(func() {
		defer stop()
		ended <- r.serve(serving)
		close(over)
	})
	leaving := &r.client.leaving
	for goesAway := r.relayGoesAway(); ; {
		select {
		case err := <-ended:
			return err
		case <-goesAway:
			// Whoever is told may come by the old registration once more, until the new one is there.
			old.tasks.Go(func() { r.goAway(ctx) })
			old.add(stop)
			return fmt.Errorf("registration: %w", channel.ErrGoingAway)
		case <-leaving.wake():
			r.leaveBehind(ctx, over)
			if leaving.isOver() {
				stop()
				return errLeft
			}
		}
	}
}

// serve serves what the relay leads here until the name is lost or ctx ends, and says why it is
// lost.
func (r *registration) serve(ctx context.Context) error {
	registrationsNow.Inc()
	defer registrationsNow.Dec()
	defer r.stream.Close()
	m, err := mux.NewAcceptor(r.stream, mux.Config{Run: r.client.Dial.Go})
	if err != nil {
		return err
	}
	defer m.Close()
	detach, err := r.client.Serve.Attach()
	if err != nil {
		return err
	}
	defer detach()
	keeping, stopKeeping := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stopKeeping()
	tasks.Go(func() { r.finish(ctx, m) })
	tasks.Go(func() { r.leave(m) })
	if !r.client.MuxOnly {
		tasks.Go(func() { r.standby.keep(keeping, r.serveStandby) })
	}
	return r.serveMux(m)
}

// finish ends the mux when ctx ends, or gently when the node has served all that it had to: the
// sessions in it end in good order, and what is on its way to the relay arrives. The relay takes
// that whether or not it can pass it on.
func (r *registration) finish(ctx context.Context, m *mux.Mux) {
	select {
	case <-r.client.Serve.Inactive():
		_ = m.SetWriteDeadline(time.Now().Add(endTimeout))
		r.client.Serve.Quit(r.carries)
		if m.Finish() == nil {
			select {
			case <-m.Done():
			case <-ctx.Done():
			case <-time.After(endTimeout):
			}
		}
	case <-ctx.Done():
	case <-m.Done():
	}
	_ = m.Close()
}

// leave tells the relay when the node takes nothing new any more: another process may have the
// name then.
func (r *registration) leave(m *mux.Mux) {
	select {
	case <-r.client.Serve.Draining():
		own := r.stream.Session()
		r.client.Dial.GoAway(func(s *channel.Session) bool { return s == own })
	case <-m.Done():
	}
}

// serveMux serves the links that the relay opens in the mux. The first one is for its demands.
func (r *registration) serveMux(m *mux.Mux) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer m.Close()
	for first := true; ; first = false {
		link, err := m.Accept()
		if err != nil {
			_ = m.Close()
			tasks.Wait()
			return lost(err, cmp.Or(m.Err(), r.stream.Err()), r.superseded.Load())
		}
		if first {
			tasks.Go(func() { r.hear(link) })
			if r.client.Share && r.client.Health != nil {
				tasks.Go(func() { r.sayHealth(link, m.Done()) })
			}
			continue
		}
		r.serveLink(link)
	}
}

// hear reads the relay's demands until they end.
func (r *registration) hear(demands io.Reader) {
	b := make([]byte, maxStandby)
	for {
		n, err := demands.Read(b)
		now := parseDemands(b[:n])
		if now.superseded {
			r.superseded.Store(true)
		}
		if now.missing > 0 {
			r.standby.demand(now.missing)
		}
		if now.none {
			r.standby.wantNone()
		}
		if now.nodes && r.client.Nodes != nil {
			r.client.Nodes()
		}
		if err != nil {
			return
		}
	}
}

// sayHealth tells the relay whether what is served is well, whenever that changes, until over.
func (r *registration) sayHealth(link netio.Conn, over <-chan struct{}) {
	for said := false; ; {
		sick, changed := r.client.Health.IsSick()
		if sick != said {
			said = sick
			what := byte(saysWell)
			if sick {
				what = saysSick
			}
			_ = link.SetWriteDeadline(time.Now().Add(demandTimeout))
			_, err := link.Write([]byte{what})
			if errors.Is(err, os.ErrDeadlineExceeded) { // the way is full: it is said again
				said, changed = !sick, after(demandTimeout)
			} else if err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-over:
			return
		}
	}
}

// after returns what is closed when a time is over.
func after(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	return over
}

// serveLink serves a link in the mux.
func (r *registration) serveLink(link netio.Conn) {
	node := r.client.Serve
	served := node.Go(func() { r.relayed.ServeLink(link, r.links.add(link)) })
	if !served {
		_ = link.Close()
	}
}

// serveStandby serves a standby link that is used for q, and calls ended then. It reports false if
// the node has been closed.
func (r *registration) serveStandby(
	link *route.Stream, q *route.Request, ended func(),
) bool {
	node := r.client.Serve
	return node.Go(func() {
		removed := r.links.add(link)
		r.relayed.ServeRequest(q, func() {
			removed()
			ended()
		})
	})
}

// goAway tells those who come by the relay that they should go elsewhere, while ctx lasts.
func (r *registration) goAway(ctx context.Context) {
	r.client.Serve.Go(func() { r.relayed.GoesAway(ctx) })
	again := time.NewTicker(goAwayInterval)
	defer again.Stop()
	for range goAwayRounds {
		r.client.Serve.GoAway(r.carries)
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// carries tells whether a session comes by the relay, in however many others.
func (r *registration) carries(s *channel.Session) bool { return route.GoesThrough(s, r.links.has) }

// linkSet is some links. It has a lock of its own. The zero value is empty.
type linkSet struct {
	mu    sync.Mutex
	links map[net.Conn]struct{}
}

// add takes a link into the set, until the returned function is called.
func (s *linkSet) add(link net.Conn) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil {
		s.links = make(map[net.Conn]struct{})
	}
	s.links[link] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.links, link)
	}
}

func (s *linkSet) has(link net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, has := s.links[link]
	return has
}

// errLeft says that this side does not want the name there any more.
var errLeft = errors.New("this side keeps the name elsewhere")

// errSuperseded says that the same identity has claimed the name anew.
var errSuperseded error = supersededError{}

type supersededError struct{}

func (supersededError) Error() string {
	return "another process with this identity has claimed the name"
}

// Decided tells whoever tries again that somebody has decided so: see route.Backoff.
func (supersededError) Decided() bool { return true }

// lost says why a registration has ended.
func lost(err, reason error, superseded bool) error {
	switch {
	case superseded:
		err = errSuperseded
	case reason != nil:
		err = reason
	}
	return fmt.Errorf("registration lost: %w", err)
}
