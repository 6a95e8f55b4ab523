package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/sets"
)

var (
	answered = metrics.NewCounter("directory_answers_total",
		"questions of relays of other sets for names that are held here, which were answered")
	notAnswerable = metrics.NewCounter("directory_unanswered_total",
		"such questions that were not: too many, or the outlet does not sign")
)

// vouchNext is when the next outlet of a name is asked as well: all of them in less than who has
// asked waits, which is askTimeout.
const vouchNext = 500 * time.Millisecond

// holding are the names that are held here, for which others are listened to. It has a lock of its
// own.
type holding struct {
	mu    sync.Mutex
	names map[string]*held
	busy  int // questions that are being answered
}

// held is a name that has leases here.
type held struct {
	leases int
	bucket tokenbucket.Bucket
	stop   func()
}

// hold has the directory asked for a name until release is called, once. The bus may wait for its
// server: so h.mu is not held meanwhile.
func (d *Directory) hold(name string) (release func()) {
	h := &d.holding
	h.mu.Lock()
	n := h.names[name]
	isFirst := n == nil
	if isFirst {
		n = new(held)
		h.names[name] = n
	}
	n.leases++
	h.mu.Unlock()
	if isFirst {
		stop := d.config.Bus.Listen(sets.SubjectOf(name).Held(),
			func(said []byte, answer func([]byte)) { d.asked(name, said, answer) })
		h.mu.Lock()
		n.stop = stop // before the first is released, and so before all are
		h.mu.Unlock()
	}
	return func() {
		h.mu.Lock()
		n.leases--
		isLast := n.leases == 0
		if isLast {
			delete(h.names, name)
		}
		stop := n.stop
		h.mu.Unlock()
		if isLast {
			stop()
		}
	}
}

// asked has somebody answered who asks for a name, in the background.
func (d *Directory) asked(name string, said []byte, answer func([]byte)) {
	nonce, err := sets.ParseAsk(said)
	if err != nil || answer == nil || !d.mayAnswer(name) {
		notAnswerable.Inc()
		return
	}
	begun := d.config.Go(func() {
		defer d.holding.answered()
		b, err := d.answer(name, nonce)
		if err != nil {
			notAnswerable.Inc()
			d.config.Logger.Debug("no answer to the directory", "name", name, "error", err)
			return
		}
		answer(b)
		answered.Inc()
	})
	if !begun {
		d.holding.answered()
	}
}

func (h *holding) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy--
}

func (d *Directory) mayAnswer(name string) bool {
	d.holding.mu.Lock()
	defer d.holding.mu.Unlock()
	n := d.holding.names[name]
	if n == nil || d.holding.busy >= maxAnswering || !n.bucket.Take(answerRate, time.Now()) {
		return false
	}
	d.holding.busy++
	return true
}

// answer has an outlet that holds a name sign that for who asks. It answers that it is not here if
// no outlet does.
func (d *Directory) answer(name string, nonce sets.Nonce) ([]byte, error) {
	ctx := d.life
	a, err := d.Set.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	addresses := d.config.Addresses()
	r, owned := d.Record(name)
	if a.Where != relay.Here || a.Lease == nil || len(addresses) == 0 || !owned {
		return sets.AppendNone(nil), nil
	}
	all := a.Shared
	if len(all) == 0 {
		all = []*relay.Lease{a.Lease}
	}
	claim, err := vouchAny(ctx, all[:min(len(all), maxHolders)], sets.Question{
		Nonce: nonce, Addresses: addresses[:min(len(addresses), sets.MaxAddresses)],
	})
	switch {
	case err == nil:
		return sets.AppendAnswer(nil, r.First, claim), nil
	case errors.Is(err, relay.ErrNoVouch):
		return sets.AppendNone(nil), nil
	}
	return nil, err
}

// signer is a lease, whose outlet signs.
type signer interface {
	Vouch(ctx context.Context, q sets.Question) ([]byte, error)
}

// vouchAny returns what the first of some outlets signs. Each has a moment before the next one is
// asked as well: of those that share a name one may be silent.
func vouchAny[L signer](ctx context.Context, all []L, q sets.Question) ([]byte, error) {
	type vouched struct {
		claim []byte
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	var last error
	answers, open := make(chan vouched, len(all)), 0
	for _, l := range all {
		tasks.Go(func() {
			claim, err := l.Vouch(ctx, q)
			answers <- vouched{claim, err}
		})
		open++
		select {
		case v := <-answers:
			if open--; v.err == nil {
				return v.claim, nil
			}
			last = v.err
		case <-time.After(vouchNext):
		}
	}
	for ; open > 0; open-- {
		v := <-answers
		if v.err == nil {
			return v.claim, nil
		}
		last = v.err
	}
	return nil, last
}
