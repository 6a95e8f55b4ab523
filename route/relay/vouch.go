package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/sets"
	"github.com/secureportal/sp/wire"
)

// VouchName is the service by which a relay has an outlet sign that it holds its name there
// (docs/PROTOCOL.md, vouch): the relay asks in the mux of the lease, and nobody else can.
const VouchName = "vouch"

// vouchTimeout is for an outlet to sign, there and back.
const vouchTimeout = 2 * time.Second

// vouchRate is how often a relay may have one registration sign.
var vouchRate = tokenbucket.Rate{PerSecond: 20, Burst: 60}

// ErrNoVouch says that an outlet does not sign what it holds: it is from before that, or does not
// now.
var ErrNoVouch = errors.New("the outlet does not sign that it holds its name")

// Vouch asks the outlet to sign that it holds its name on this relay, which is at these addresses
// for others, for whoever has drawn the nonce. It waits two seconds at most, also for a lease that
// is not ready yet. What it returns has not been verified.
func (l *Lease) Vouch(ctx context.Context, q sets.Question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, vouchTimeout)
	defer cancel()
	payload, err := q.AppendTo(nil)
	if err != nil {
		return nil, err
	}
	out, err := wire.AppendMessage(nil, wire.Message{
		Onward: wire.Route{{Kind: wire.Service, Name: VouchName}}, Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	l.awaitReady(ctx)
	l.mu.Lock()
	m := l.mux
	l.mu.Unlock()
	if m == nil {
		return nil, errNotReady
	}
	link, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer link.Close()
	defer context.AfterFunc(ctx, func() { _ = link.SetDeadline(time.Now()) })()
	if _, err := link.Write(out); err != nil {
		return nil, err
	}
	return readVouched(link)
}

// readVouched reads what an outlet has signed.
func readVouched(link io.Reader) ([]byte, error) {
	most := int64(3 + wire.MaxReason + sets.MaxClaim)
	b, err := io.ReadAll(io.LimitReader(link, most+1))
	if err != nil {
		return nil, err
	}
	status, size, err := wire.ParseStatus(b)
	switch {
	case err != nil:
		return nil, err
	case size == 0 || status.Code != wire.OK || len(b) == size:
		return nil, ErrNoVouch
	case len(b)-size > sets.MaxClaim:
		return nil, route.ErrMalformed
	}
	return b[size:], nil
}

// voucher signs for one registration. It is safe for concurrent use.
type voucher struct {
	since time.Time // of the registration

	mu     sync.Mutex
	bucket tokenbucket.Bucket
}

func (v *voucher) may(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bucket.Take(vouchRate, now)
}

// vouch signs for the relay that this side holds its name there. What goes into it but for the
// nonce and the relay's addresses this side knows by itself.
func (r *registration) vouch(_ context.Context, q *route.Request) error {
	question, err := sets.ParseQuestion(q.Message.Payload)
	s := r.stream.Session()
	switch {
	case err != nil:
		return route.Refuse(wire.BadMessage, "not a question that a relay asks")
	case s == nil || r.superseded.Load():
		return route.Refuse(wire.NoService, "the name is not held there")
	case r.client.Serve.IsDraining():
		return route.Refuse(wire.GoingAway, "")
	case !r.voucher.may(time.Now()):
		return route.Refuse(wire.Busy, "asked too often to sign")
	}
	c := sets.Claim{
		Relay: s.Peer().Identifier(), Addresses: question.Addresses,
		Instance: r.client.Instance, Held: max(time.Since(r.voucher.since), 0),
		Lifetime: sets.MaxLifetime,
	}
	b, err := c.Sign(r.client.Serve.Identity(), question.Nonce, r.client.Name)
	if err != nil {
		return err
	}
	stream := q.Accept()
	_ = stream.SetDeadline(time.Now().Add(vouchTimeout))
	if _, err := stream.Write(b); err != nil {
		return err
	}
	return stream.CloseWrite()
}
