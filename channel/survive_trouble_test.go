package channel

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// trouble is what happens beside losses of links.
type trouble struct {
	loses  bool // flows may end with an error: never with a wrong byte, and never as if in order
	make   func(p *peer, r *rand.Rand, policy *togglePolicy)
	voice  func(r *rand.Rand) voice
	renews time.Duration // a session's keys are replaced
}

// voice is how an end of a flow uses it.
type voice struct {
	silence   time.Duration // before it says anything, once the other end has said all
	deadlines bool          // it sets some
}

func troubles() map[string]trouble {
	return map[string]trouble{
		"memory": {loses: true, make: func(_ *peer, r *rand.Rand, _ *togglePolicy) {
			budget.SetKept(1+r.Int64N(1<<r.IntN(20)), 0)
		}},
		"trust": {loses: true, make: func(_ *peer, r *rand.Rand, policy *togglePolicy) {
			policy.set(trust.ErrNotTrusted)
			time.Sleep(time.Duration(r.IntN(10)) * time.Second)
			policy.set(nil)
		}},
		"initiator closed": {loses: true, make: func(p *peer, _ *rand.Rand, _ *togglePolicy) {
			_ = p.initiator.Close()
		}},
		"responder closed": {loses: true, make: func(p *peer, _ *rand.Rand, _ *togglePolicy) {
			_ = p.responder.Close()
		}},
		"going away": {make: func(p *peer, _ *rand.Rand, _ *togglePolicy) { p.responder.GoAway() }},
		"retired":    {make: func(p *peer, _ *rand.Rand, _ *togglePolicy) { p.retire() }},
		"new keys":   {renews: 4 * time.Second},
		"deadlines":  {voice: func(*rand.Rand) voice { return voice{deadlines: true} }},
		"half-closed": {voice: func(r *rand.Rand) voice {
			return voice{silence: time.Duration(r.IntN(300)) * time.Second}
		}},
	}
}

// speak has an end of a flow say mine and hear theirs.
func (v voice) speak(f *Flow, mine, theirs talk, loses bool) error {
	ended, said := make(chan struct{}), make(chan error, 1)
	go func() {
		if v.silence > 0 {
			<-ended
			waited := make(chan error, 1)
			go func() { waited <- f.AwaitReset() }()
			defer func() { <-waited }()
			time.Sleep(v.silence)
		}
		if v.deadlines {
			_ = f.SetWriteDeadline(time.Now().Add(time.Hour))
		}
		err := mine.say(f)
		if v.deadlines { // it was for what has been said
			_ = f.SetWriteDeadline(time.Now().Add(time.Millisecond))
		}
		said <- err
	}()
	got, heard := v.hear(f)
	close(ended)
	if heard != nil && loses {
		_ = f.Close() // the writer may wait for nothing
	}
	err := <-said
	defer f.Close()
	if e := theirs.hears(got, heard, mine.reset || loses); e != nil {
		return e
	}
	if err != nil && !loses && !theirs.reset && !mine.reset {
		return err
	}
	return nil
}

// hear reads it all, in pieces of time if there are deadlines.
func (v voice) hear(f *Flow) (got []byte, err error) {
	b := make([]byte, 10_000)
	for {
		if v.deadlines {
			_ = f.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
		n, err := f.Read(b)
		got = append(got, b[:n]...)
		switch {
		case err == io.EOF:
			return got, nil
		case err != nil && !(v.deadlines && isTimeout(err) && f.Err() == nil):
			return got, err
		}
	}
}

// Whatever else happens while links are lost: what arrives is what was sent, an end is never made
// up, and nothing is left of it afterwards.
func TestFlowsSurviveTrouble(t *testing.T) {
	for name, tr := range troubles() {
		t.Run(name, func(t *testing.T) {
			for seed := range faultnet.Seeds(t, testenv.OfRun(2, 10, 1000)) {
				var policy *togglePolicy
				both := func(a, b *Config) {
					surviving(a, b)
					policy = newTogglePolicy() // in the bubble
					a.Trust, b.Trust = policy, policy
					a.RenewAfter = tr.renews
				}
				inBubble(t, both, func(t *testing.T, l *lab) {
					p := &peer{lab: l, turn: make(chan struct{}, 1)}
					l.tap = func(int, faultnet.Direction, []byte) {}
					p.troubled(tr, policy, seed)
				})
			}
		})
	}
}

func (p *peer) troubled(tr trouble, policy *togglePolicy, seed uint64) {
	t := p.t
	defer budget.SetKept(0, 0)
	r := rand.New(rand.NewPCG(seed, 1))
	p.plan = func(link int) faultnet.Plan {
		return randomLosses(rand.New(rand.NewPCG(seed, uint64(link))))
	}
	flows := 1 + r.IntN(4)
	clients, services := make([]talk, flows), make([]talk, flows)
	for i := range flows {
		clients[i], services[i] = randomTalk(r), randomTalk(r)
	}
	near, far := voice{}, voice{}
	if tr.voice != nil {
		far = tr.voice(r)
		near.deadlines = far.deadlines
	}
	var tasks sync.WaitGroup
	p.handle = func(_ context.Context, f *Flow) {
		tasks.Add(1)
		defer tasks.Done()
		var number [1]byte
		if !meant(f, number[:]) {
			return
		}
		i := int(number[0])
		if err := far.speak(f, services[i], clients[i], tr.loses); err != nil {
			t.Errorf("seed %d: service %d %v", seed, i, err)
		}
	}
	for i := range flows {
		pause := time.Duration(r.IntN(1000)) * time.Millisecond
		tasks.Go(func() {
			time.Sleep(pause)
			f := p.answered(byte(i))
			if f == nil {
				return
			}
			if err := near.speak(f, clients[i], services[i], tr.loses); err != nil {
				t.Errorf("seed %d: client %d %v", seed, i, err)
			}
		})
	}
	if tr.make != nil {
		q := rand.New(rand.NewPCG(seed, 2))
		tasks.Go(func() {
			for range 1 + q.IntN(3) {
				time.Sleep(time.Duration(q.IntN(5000)) * time.Millisecond)
				tr.make(p, q, policy)
			}
		})
	}
	chaos := make(chan struct{})
	go func() {
		tasks.Wait()
		close(chaos)
	}()
	p.rage(r, chaos)
	p.calm()
	time.Sleep(3 * testSurvive)
	p.wantNothingLeft()
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// calm has no link that is made from now on fail.
func (p *peer) calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = func(int) faultnet.Plan { return faultnet.Line(time.Millisecond, 0) }
}

// What is to be handed over, and has a link meanwhile, is not suspended until it loses that.
func TestSuspendedAreCounted(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		f := p.greeted(p.mustSession())
		p.noWay()
		p.responder.GoAway()
		time.Sleep(testSurvive / 8)
		write(t, f, "still there?")
		expect(t, f, "still there?")
		if n := flowsSuspended.Value(); n != 0 {
			t.Errorf("%d flows are suspended, and have a link", n)
		}
		p.cutAll()
		time.Sleep(testSurvive / 8)
		if n := flowsSuspended.Value(); n == 0 {
			t.Error("no flow is suspended")
		}
		time.Sleep(2 * testSurvive)
		if n := flowsSuspended.Value(); n != 0 {
			t.Errorf("%d flows are suspended, and nothing waits", n)
		}
		_ = f.Close()
	})
}
