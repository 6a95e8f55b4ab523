package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/sets"
)

// Times of a look-up.
const (
	askTimeout = 2 * time.Second        // for the first answer
	gatherFor  = 250 * time.Millisecond // after the first, for those of others

	// Whoever has held a name just now may be listening again without the bus having heard of it.
	againAfter = 50 * time.Millisecond
	againTimes = 3
)

// maxAnswers is how many answers to one question are looked at: each may cost many signatures.
const maxAnswers = 6

var (
	lookups = func(outcome string) *metrics.Counter {
		return metrics.NewCounter("directory_lookups_total",
			"names that were looked up in other sets, by what came of it",
			metrics.Label{Name: "outcome", Value: outcome})
	}
	lookedUp    = lookups("found")
	knownNobody = lookups("nobody")
	notAnswered = lookups("silence")
	notAsked    = lookups("refused")
	wasDown     = lookups("down")

	badAnswers = metrics.NewCounter("directory_bad_answers_total",
		"answers of the directory that were none, or not signed by whom they named")

	lookupTime = metrics.NewHistogram("directory_lookup_seconds",
		"how long it took to find who holds a name in another set")
)

// errSilence is that somebody listens, and nobody answers.
var errSilence = errors.New("who holds the name does not answer the directory")

// finder finds out who holds names. It has a lock of its own.
type finder struct {
	mu      sync.Mutex
	known   *sets.Known
	asking  map[string]*asking
	total   tokenbucket.Bucket
	sources map[string]*tokenbucket.Bucket
}

// asking is a question that is under way.
type asking struct {
	found chan struct{} // closed when something is known
	err   error         // why nothing is; set before
}

func (f *finder) knows(name string) (claims []sets.Claim, nobody bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	return f.known.Holders(now, name), f.known.IsNobody(now, name)
}

// failed takes note that a route of a name's has led nowhere.
func (f *finder) failed(name string, to route.Route, err error) {
	var refused *route.StatusError
	gone := errors.As(err, &refused) && refused.Code != route.CodeUnreachable
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known.Failed(time.Now(), name, to[0], gone)
}

// mayAskLocked tells whether a source may have one more name asked for.
func (f *finder) mayAskLocked(source string, now time.Time) bool {
	if len(f.asking) >= maxAsking {
		return false
	}
	b := f.sources[source]
	if b == nil {
		if len(f.sources) >= maxSources {
			for s, other := range f.sources {
				if other.IsFull(sourceRate, now) {
					delete(f.sources, s)
				}
			}
		}
		if len(f.sources) >= maxSources {
			return false
		}
		b = new(tokenbucket.Bucket)
		f.sources[source] = b
	}
	return b.Take(sourceRate, now) && f.total.Take(totalRate, now)
}

// find asks the bus who holds a name, and returns the routes there. It waits for the first answer,
// with all who ask for the same name meanwhile.
func (d *Directory) find(ctx context.Context, name, source string) ([]route.Route, error) {
	f := &d.finder
	f.mu.Lock()
	a, under := f.asking[name]
	if !under {
		if !f.mayAskLocked(source, time.Now()) {
			f.mu.Unlock()
			notAsked.Inc()
			return nil, errTooOften
		}
		a = &asking{found: make(chan struct{})}
		f.asking[name] = a
	}
	f.mu.Unlock()
	if !under && !d.config.Go(func() { d.ask(name, a) }) {
		d.endAsking(name, a, ErrDown)
	}
	select {
	case <-a.found:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	claims, _ := f.knows(name)
	return d.routes(name, claims), a.err
}

// endAsking lets those go on who wait.
func (d *Directory) endAsking(name string, a *asking, err error) {
	d.finder.mu.Lock()
	defer d.finder.mu.Unlock()
	if d.finder.asking[name] == a {
		delete(d.finder.asking, name)
	}
	select {
	case <-a.found:
	default:
		a.err = err
		close(a.found)
	}
}

// ask asks the bus for a name, until it is found, or it is known that nobody holds it.
func (d *Directory) ask(name string, a *asking) {
	began := time.Now()
	err := d.askOnce(name, a)
	for n := 0; errors.Is(err, ErrNobody) && n < againTimes && d.ought(name); n++ {
		d.pause(jittered(againAfter << n))
		err = d.askOnce(name, a)
	}
	switch {
	case err == nil:
		lookedUp.Inc()
		lookupTime.Observe(time.Since(began))
	case errors.Is(err, ErrNobody):
		knownNobody.Inc()
		d.finder.mu.Lock()
		d.finder.known.Nobody(time.Now(), name)
		d.finder.mu.Unlock()
		err = nil
	case errors.Is(err, ErrDown):
		wasDown.Inc()
	default:
		notAnswered.Inc()
	}
	d.endAsking(name, a, err)
}

func (d *Directory) pause(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.life.Done():
	}
}

func (d *Directory) ought(name string) bool {
	d.finder.mu.Lock()
	defer d.finder.mu.Unlock()
	return d.finder.known.Ought(time.Now(), name)
}

// askOnce asks the bus for a name. Nil is that it is known now who holds it.
func (d *Directory) askOnce(name string, a *asking) error {
	ctx, cancel := context.WithTimeout(d.life, askTimeout)
	defer cancel()
	var nonce sets.Nonce
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	asked := time.Now()
	said, answers, good := 0, 0, 0
	each := func(b []byte) (enough bool) {
		answers++
		got, err := sets.ParseAnswer(b, nonce, name)
		if err != nil {
			badAnswers.Inc()
			d.config.Logger.Debug("a bad answer of the directory", "name", name, "error", err)
			return answers >= maxAnswers
		}
		if said++; said == 1 {
			time.AfterFunc(gatherFor, cancel)
		}
		if d.learn(asked, name, got) {
			if good++; good == 1 {
				close(a.found) // what else is answered is heard as well
			}
		}
		return answers >= maxAnswers
	}
	err := d.config.Bus.Ask(ctx, sets.SubjectOf(name).Held(), sets.AppendAsk(nil, nonce), each)
	switch {
	case good > 0:
		return nil
	case errors.Is(err, ErrNobody), errors.Is(err, ErrDown):
		return err
	case said > 0: // all say that it is not there any more
		return ErrNobody
	}
	return errSilence
}

// learn takes in an answer. This relay's own is none.
func (d *Directory) learn(asked time.Time, name string, a sets.Answer) bool {
	if !a.Held || a.Claim.Relay == d.config.Self {
		return false
	}
	d.finder.mu.Lock()
	defer d.finder.mu.Unlock()
	return d.finder.known.Learn(time.Now(), asked, name, a)
}
