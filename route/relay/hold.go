package relay

import (
	"cmp"
	"errors"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/mux"
)

// holding is a claim while its lease is ready, and what the outlet says is awaited. It stays when
// its Handler has returned.
type holding struct {
	server  *Server
	lease   *Lease
	release func() // gives the name back
	stream  *route.Stream
	mux     *mux.Mux
	vigil   *vigil
}

// hold answers a claim, and has the lease ready until it is superseded or has lapsed. What is in
// use then goes on while its owner may have the name.
func (s *Server) hold(q *route.Request, h *holding) error {
	if ok, err := h.begin(q); !ok {
		return h.over(err)
	}
	h.vigil = s.keepVigil(h.lease, h.mux)
	over, ok := q.Stay()
	if !ok {
		h.mux.Read()
		return h.over(h.ended())
	}
	h.mux.ReadThen(func() { over(h.over(h.ended())) })
	return nil
}

// begin answers the claim, makes a mux of its flow, and with that the lease ready. It reports false
// if that has come to nothing.
func (h *holding) begin(q *route.Request) (ok bool, err error) {
	s, l := h.server, h.lease
	h.stream = q.Accept()
	h.stream.Background()
	if _, err := h.stream.Write(l.key.appendTo(nil)); err != nil {
		return false, err
	}
	h.mux, err = mux.NewOpener(h.stream,
		mux.Config{Run: s.node.Go, Budget: s.budget, Reads: true})
	if err != nil {
		return false, err
	}
	if err := s.begin(l, h.mux); err != nil {
		_ = h.stream.Close()
		h.mux.Read()
		_ = h.mux.Close()
		return false, err
	}
	return true, nil
}

// ended returns why the mux has ended, if not in order.
func (h *holding) ended() error {
	reason := cmp.Or(h.vigil.end(), ended(h.lease.session, h.mux, h.stream))
	_ = h.mux.Close()
	return reason
}

// over is the end of a claim that reason has ended, and returns what to say of it.
func (h *holding) over(reason error) error {
	defer h.lease.close()
	defer h.release()
	s, l := h.server, h.lease
	if l.sharing != nil && reasonToLeave(l, reason) {
		s.left.add(l, time.Now())
	}
	if errors.Is(reason, trust.ErrNotTrusted) {
		l.used.reset()
	} else if !l.used.endIfNone() {
		s.node.Go(func() { s.outlive(l) })
		if errors.Is(reason, errClaimedAnew) {
			s.node.Go(func() { s.leaveBehind(l) })
		}
	}
	if !l.hasBeenReady() {
		return reason // nobody has been told of it
	}
	gone := s.logger.With("name", l.name, "identifier", l.owner, "source", l.source())
	if reason != nil {
		gone = gone.With("reason", reason)
	}
	gone.Info("outlet gone")
	return nil
}

// begin makes the lease ready, with m.
func (s *Server) begin(l *Lease, m *mux.Mux) error {
	if err := m.AcceptNone(); err != nil { // what the outlet opened would be taken by nobody
		return err
	}
	if err := l.open(m); err != nil {
		return err
	}
	s.logger.Info("outlet registered", "name", l.name, "identifier", l.owner,
		"source", l.source())
	if s.list != nil {
		l.demand(demandNodes)
	}
	if l.sharing != nil {
		s.left.remove(l)
		s.node.Go(l.hear)
	}
	return nil
}
