package route

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/pause"
	"github.com/secureportal/sp/route/direct"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

const (
	// directTimeout bounds one attempt to make a direct way, with all its rounds.
	directTimeout = 20 * time.Second
	// directRounds is how often both dial in one attempt.
	directRounds = 3
	// directProof is for the far end to show that it is at the other end of a connection.
	directProof = 3 * time.Second
)

// Why an attempt has come to nothing.
var (
	errNoDirect = errors.New("no direct way is offered")
	errUnmet    = errors.New("neither end reaches the other: NATs or firewalls are in between")
	errStranger = errors.New("somebody else was at the other end of the direct connection")
)

// attempt makes the direct way, or returns why it could not.
func (w *directWay) attempt(ctx context.Context) (*transport.Direct, error) {
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	defer context.AfterFunc(w.session.Context(), cancel)()
	s, err := w.openService(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Await(ctx); err != nil {
		return nil, asUnoffered(err)
	}
	defer context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })()
	here, err := w.node.observe(ctx, Route{w.relay})
	if err != nil {
		return nil, err
	}
	defer here.close()
	to, err := meetAt(s, here)
	if err != nil {
		return nil, asUnoffered(err)
	}
	for range directRounds {
		made, err := w.round(ctx, s, here, to)
		if made != nil || err != nil {
			return made, err
		}
	}
	return nil, errUnmet
}

// meetAt tells the responder where this side is, and returns where to connect to.
func meetAt(s *Stream, here *seenPort) ([]netip.AddrPort, error) {
	if err := here.sayTo(s); err != nil {
		return nil, err
	}
	f, err := hearFrame(s, direct.Addresses)
	if err != nil {
		return nil, err
	}
	return here.side.Choose(f.Addresses)
}

// asUnoffered says of a refusal that it is not to be had, if that is for good.
func asUnoffered(err error) error {
	var status *StatusError
	if errors.As(err, &status) && status.Code == wire.NoService ||
		errors.Is(err, netio.ErrNoSharedPort) {
		return errors.Join(errNoDirect, err)
	}
	return err
}

// round has both sides dial once. Nothing is returned if none has reached the other.
func (w *directWay) round(
	ctx context.Context, s *Stream, here *seenPort, to []netip.AddrPort,
) (*transport.Direct, error) {
	began := time.Now()
	if err := sayFrame(s, direct.Frame{Kind: direct.Ask}); err != nil {
		return nil, err
	}
	if _, err := hearFrame(s, direct.Answer); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if err := sayFrame(s, direct.Frame{Kind: direct.Now}); err != nil {
		return nil, err
	}
	if !pause.For(ctx, min(took/2, meetWindow)) {
		return nil, context.Cause(ctx)
	}
	meeting, cancel := context.WithTimeout(ctx, meetWindow)
	defer cancel()
	conns := here.meet(meeting, to, false)
	defer func() { // one is enough
		cancel()
		for c := range conns {
			turnAway(c)
		}
	}()
	for c := range conns {
		if made, err := w.prove(ctx, c); err == nil {
			return made, nil
		}
	}
	return nil, ctx.Err()
}

// prove has the session go by a connection if that leads to its far end.
func (w *directWay) prove(ctx context.Context, c net.Conn) (*transport.Direct, error) {
	made, err := transport.NewDirect(c, w.node.Go, w.node.directs.answers.budget())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, directProof)
	defer cancel()
	began := time.Now()
	var first atomic.Bool
	end, err := w.session.GoBy(ctx, func() (channel.Conn, error) {
		if first.CompareAndSwap(false, true) {
			return w.openBy(made, make([]byte, largeProbe)) // no small packet may be all that passes
		}
		return w.openBy(made, nil)
	})
	if err != nil {
		made.Reset()
		<-made.Done()
		return nil, errors.Join(errStranger, err)
	}
	w.mu.Lock()
	w.state.Took = time.Since(began)
	w.mu.Unlock()
	stop := w.session.AfterEnd(end)
	following := w.node.Go(func() {
		<-made.Done()
		stop()
		end()
	})
	if !following {
		stop()
		end()
		made.Reset()
		<-made.Done()
		return nil, net.ErrClosed
	}
	return made, nil
}

// openBy opens a link on a direct connection, to the secure channel at its other end, which has no
// use for a payload.
func (w *directWay) openBy(made *transport.Direct, payload []byte) (channel.Conn, error) {
	link, err := made.Open()
	if err != nil {
		return nil, err
	}
	to := Route{wire.Address{Kind: wire.Secure, Name: SecureName}}
	m := wire.Message{Onward: to, Return: Route{w.node.labels.origin()}, Payload: payload}
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		_ = link.Close()
		return nil, err
	}
	s := opened(link, &answerer{route: to}, out)
	s.Background()
	return s, nil
}

// openService opens a stream in the session to the service that agrees on a moment.
func (w *directWay) openService(ctx context.Context) (*Stream, error) {
	f, err := w.session.Open(ctx)
	if err != nil {
		return nil, err
	}
	to := Route{wire.Address{Kind: wire.Service, Name: DirectName}}
	m := wire.Message{Onward: to, Return: Route{w.node.labels.origin()}}
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return opened(f, &answerer{route: to, inside: true}, out), nil
}
