package channel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

const testSurvive = time.Minute

// surviving has both sides keep flows that have lost their links.
func surviving(a, b *Config) { a.Survive, b.Survive = testSurvive, testSurvive }

// peer is the initiator's side of a lab whose sessions are made anew when they are lost.
type peer struct {
	*lab
	turn chan struct{} // a lock on which a bubble's time goes on
	now  *Session
}

// session returns the session that there is, or makes one.
func (p *peer) session(ctx context.Context) (*Session, error) { return p.another(ctx, nil) }

// another is session, but for one that is not wanted.
func (p *peer) another(ctx context.Context, instead *Session) (*Session, error) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.now != nil && p.now != instead && p.now.Err() == nil {
		return p.now, nil
	}
	s, err := p.initiator.Initiate(ctx, "", trust.As{Role: trust.Node}, p.dial)
	if err != nil {
		return nil, err
	}
	s.ResumeBy(func() []Way { return []Way{{Make: p.another}} })
	p.now = s
	return s, nil
}

func (p *peer) mustSession() *Session {
	p.t.Helper()
	s, err := p.session(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// inSurvivingBubble is inBubble with a peer, and links on which faults can happen.
func inSurvivingBubble(t *testing.T, f func(t *testing.T, p *peer)) {
	t.Helper()
	inBubble(t, surviving, func(t *testing.T, l *lab) {
		l.tap = func(int, faultnet.Direction, []byte) {}
		f(t, &peer{lab: l, turn: make(chan struct{}, 1)})
	})
}

func (l *lab) liveLinks() (live []*faultnet.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.links {
		select {
		case <-k.Done():
		default:
			live = append(live, k)
		}
	}
	return live
}

// A flow goes on when its link is cut, whoever has something to say, and whether or not the session
// is cut with it.
func TestFlowGoesOn(t *testing.T) {
	for _, control := range []bool{false, true} {
		t.Run(fmt.Sprint("session lost ", control), func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				f := p.greeted(p.mustSession())
				synctest.Wait()
				links := p.liveLinks()
				if !control {
					links = links[1:]
				}
				for _, k := range links {
					k.Cut()
				}
				write(t, f, "are you there?")
				expect(t, f, "are you there?")
				if err := f.CloseWrite(); err != nil {
					t.Error(err)
				}
				expectEnd(t, f)
				_ = f.Close()
			})
		})
	}
}

// A session that is going away hands its flows over to another one with the same far end, while
// they are in use, and is over soon.
func TestHandOver(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		s := p.mustSession()
		f := p.greeted(s)
		synctest.Wait()
		p.responder.GoAway()
		write(t, f, "still there?")
		expect(t, f, "still there?")
		<-s.Done()
		if f.Session() == s {
			t.Error("the flow is in the session that has ended")
		}
		write(t, f, "and now?")
		expect(t, f, "and now?")
		_ = f.CloseWrite()
		expectEnd(t, f)
	})
}

// Who has seen a link fail may be late to note that in the session which the flow was in: that has
// ended in good order meanwhile, and the flow is not ended with it.
func TestLateNote(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		synctest.Wait()
		here, there := f.Session(), far.Session()
		p.responder.GoAway()
		<-here.Done()
		<-there.Done()
		if f.Session() == here || far.Session() == there {
			t.Fatal("the flow is in the session that has ended")
		}
		for range 20 { // of what happens then, anything may be first
			here.suspend(f)
			there.suspend(far.Flow)
			synctest.Wait()
		}
		for range 2 {
			write(t, f, "still there?")
			expect(t, far, "still there?")
			write(t, far, "yes")
			expect(t, f, "yes")
			time.Sleep(testSurvive)
		}
	})
}

// A flow goes on by a way that has come to be only after it has begun to look for one, whether its
// session is going away or is lost, and whether the ways that there were lead nowhere or elsewhere.
func TestNewWay(t *testing.T) {
	none := func(context.Context, *Session) (*Session, error) { return nil, trust.ErrNotTrusted }
	down := func(context.Context, *Session) (*Session, error) { return nil, errors.New("down") }
	for name, before := range map[string][]Way{
		"down":              {{To: "down", Make: down}},
		"down or elsewhere": {{To: "down", Make: down}, {To: "elsewhere", Make: none}},
	} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", lost ", lost), func(t *testing.T) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) {
					s := p.mustSession()
					var more atomic.Bool
					s.ResumeBy(func() []Way {
						if more.Load() {
							return append(before[:len(before):len(before)], Way{Make: p.another})
						}
						return before
					})
					f := p.greeted(s)
					synctest.Wait()
					p.responder.GoAway()
					if lost {
						for _, k := range p.liveLinks() {
							k.Cut()
						}
					}
					time.Sleep(testSurvive / 2)
					more.Store(true)
					write(t, f, "still there?")
					expect(t, f, "still there?")
					<-s.Done()
					if f.Session() == s {
						t.Error("the flow is in the session that has ended")
					}
					_ = f.CloseWrite()
					expectEnd(t, f)
				})
			})
		}
	}
}

// A flow whose process is said to be gone is not kept waiting for as long as others, whatever other
// ways come to; it goes on if one of those leads to the process in time.
func TestProcessIsGone(t *testing.T) {
	gone := func(context.Context, *Session) (*Session, error) {
		return nil, fmt.Errorf("%w: says the relay", ErrProcessGone)
	}
	for _, found := range []bool{false, true} {
		t.Run(fmt.Sprint("found ", found), func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				s := p.mustSession()
				began := time.Now()
				s.ResumeBy(func() []Way {
					return []Way{{To: "gone", Make: gone}, {To: "other", Make: func(
						ctx context.Context, instead *Session,
					) (*Session, error) {
						if found && time.Since(began) > goneGrace/2 {
							return p.another(ctx, instead)
						}
						return nil, errors.New("down")
					}}}
				})
				f := p.greeted(s)
				synctest.Wait()
				for _, k := range p.liveLinks() {
					k.Cut()
				}
				if found {
					write(t, f, "still there?")
					expect(t, f, "still there?")
					_ = f.CloseWrite()
					expectEnd(t, f)
					return
				}
				_, err := f.Read(make([]byte, 1))
				wantNoEOF(t, err)
				if took := time.Since(began); took < goneGrace || took > goneGrace+time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// talk is what one end of a flow says, and how it ends.
type talk struct {
	data  []byte
	reset bool // in place of an end
	piece int
	pause time.Duration
}

func randomTalk(r *rand.Rand) talk {
	sizes := []int{0, 1, 100, 5000, 70_000, 400_000}
	data := make([]byte, r.IntN(sizes[r.IntN(len(sizes))]+1))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return talk{
		data: data, reset: r.IntN(8) == 0, piece: 1 + r.IntN(40_000),
		pause: time.Duration(r.IntN(100)) * time.Millisecond,
	}
}

// say says it all.
func (k talk) say(f *Flow) error {
	for rest := k.data; len(rest) > 0; {
		n, err := f.Write(rest[:min(len(rest), k.piece)])
		if err != nil {
			return err
		}
		rest = rest[n:]
		time.Sleep(k.pause)
	}
	if k.reset {
		return f.Reset()
	}
	return f.CloseWrite()
}

// hears reports what is wrong with what has come of it.
func (k talk) hears(got []byte, err error, otherReset bool) error {
	switch {
	case !bytes.HasPrefix(k.data, got):
		return fmt.Errorf("wrong bytes: %d of %d, %x and %x", len(got), len(k.data),
			sha256.Sum256(got), sha256.Sum256(k.data[:min(len(got), len(k.data))]))
	case err == nil && (k.reset || len(got) != len(k.data)):
		return fmt.Errorf("a clean end after %d of %d bytes, reset %v", len(got), len(k.data), k.reset)
	case err != nil && !k.reset && !otherReset:
		return fmt.Errorf("after %d of %d bytes: %w", len(got), len(k.data), err)
	}
	return nil
}

// converse has one end of a flow say mine and hear theirs.
func converse(f *Flow, mine, theirs talk) error {
	said := make(chan error)
	go func() { said <- mine.say(f) }()
	got, heard := io.ReadAll(f)
	err := <-said
	if e := theirs.hears(got, heard, mine.reset); e != nil {
		return fmt.Errorf("hears %w", e)
	}
	if err != nil && !theirs.reset && !mine.reset {
		return fmt.Errorf("says: %w", err)
	}
	return f.Close()
}

// Whatever happens to links, and at whatever byte: each end gets exactly the bytes that the other
// one has sent, once and in order, and the ending that it has sent.
func TestFlowsSurvive(t *testing.T) {
	for seed := range faultnet.Seeds(t, testenv.OfRun(20, 200, 10_000)) {
		inSurvivingBubble(t, func(t *testing.T, p *peer) { surviveSeed(t, p, seed) })
	}
}

func surviveSeed(t *testing.T, p *peer, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	p.plan = func(link int) faultnet.Plan {
		return randomLosses(rand.New(rand.NewPCG(seed, uint64(link))))
	}
	flows := 1 + r.IntN(4)
	clients, services := make([]talk, flows), make([]talk, flows)
	for i := range flows {
		clients[i], services[i] = randomTalk(r), randomTalk(r)
	}
	served := make([]chan struct{}, flows)
	for i := range served {
		served[i] = make(chan struct{})
	}
	p.handle = func(_ context.Context, f *Flow) {
		var number [1]byte
		if !meant(f, number[:]) {
			return
		}
		i := int(number[0])
		if err := converse(f, services[i], clients[i]); err != nil {
			t.Errorf("seed %d: service %d %v", seed, i, err)
		}
		close(served[i])
	}
	chaos := make(chan struct{})
	var tasks sync.WaitGroup
	for i := range flows {
		pause := time.Duration(r.IntN(1000)) * time.Millisecond
		tasks.Go(func() {
			time.Sleep(pause)
			if f := p.answered(byte(i)); f != nil {
				if err := converse(f, clients[i], services[i]); err != nil {
					t.Errorf("seed %d: client %d %v", seed, i, err)
				}
				<-served[i]
			}
		})
	}
	go func() {
		tasks.Wait()
		close(chaos)
	}()
	p.rage(r, chaos)
}

// answered returns a flow that the service has answered.
func (p *peer) answered(number byte) *Flow {
	return p.answeredIn(0, func(byte) []byte { return []byte{number} })
}

// answeredIn is answered for who says something of himself that may differ with each try, of which
// none takes longer than wait, if that is not 0.
func (p *peer) answeredIn(wait time.Duration, who func(try byte) []byte) *Flow {
	for try := range byte(100) {
		s, err := p.session(context.Background())
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		f, err := s.Open(context.Background())
		if err != nil {
			continue
		}
		if wait > 0 {
			_ = f.SetReadDeadline(time.Now().Add(wait))
		}
		if means(f, who(try)) {
			_ = f.SetReadDeadline(time.Time{})
			return f
		}
		_ = f.Reset()
	}
	return nil
}

// means tells the service who opens the flow, and reports whether that has answered: then this one
// it is.
func means(f *Flow, who []byte) bool {
	if _, err := f.Write(who); err != nil {
		return false
	}
	if _, err := io.ReadFull(f, make([]byte, len(who))); err != nil {
		return false
	}
	_, err := f.Write([]byte("!"))
	return err == nil
}

// meant is the service's part of means: it answers, and reports whether this is the flow with which
// the other end goes on. That may have opened one before and have given it up.
func meant(f *Flow, who []byte) bool {
	_, err := io.ReadFull(f, who)
	return err == nil && confirmed(f, who)
}

func confirmed(f *Flow, who []byte) bool {
	if _, err := f.Write(who); err != nil {
		return false
	}
	_, err := io.ReadFull(f, make([]byte, 1))
	return err == nil
}

// randomLosses is a line, which may be cut at some byte.
func randomLosses(r *rand.Rand) faultnet.Plan {
	plan := faultnet.Line(time.Duration(r.IntN(30))*time.Millisecond, 0)
	if r.IntN(3) == 0 {
		plan = append(plan, faultnet.Fault{
			Kind: []faultnet.Kind{faultnet.Cut, faultnet.Reset}[r.IntN(2)],
			Dir:  faultnet.Direction(r.IntN(2)), Unit: faultnet.Byte,
			At: int64(1 + r.IntN(1<<r.IntN(18))),
		})
	}
	return plan
}

// rage has links cut, reset and swallowed, for ever or for some time, in one direction or in both,
// and has what is open go another way, until over is closed; not so often that nothing could go on.
func (p *peer) rage(r *rand.Rand, over <-chan struct{}) {
	for n := 0; ; n++ {
		pause := time.Duration(r.IntN(3000)) * time.Millisecond
		if n > 30 {
			pause = time.Minute
		}
		select {
		case <-time.After(pause):
		case <-over:
			return
		}
		live := p.liveLinks()
		if len(live) == 0 {
			continue
		}
		k := live[r.IntN(len(live))]
		switch r.IntN(5) {
		case 0:
			k.Cut()
		case 1:
			k.Reset()
		case 2:
			p.hole(k, r)
		case 3:
			for _, k := range live {
				k.Reset()
			}
		case 4:
			p.retire()
		}
	}
}

// hole has a link swallow what comes in either direction or in both. It may do so for some time
// only: then all of it arrives.
func (p *peer) hole(k *faultnet.Link, r *rand.Rand) {
	dirs := [][]faultnet.Direction{
		nil, {faultnet.ClientToServer}, {faultnet.ServerToClient},
	}[r.IntN(3)]
	k.BlackHole(true, dirs...)
	if r.IntN(2) == 0 {
		time.AfterFunc(time.Duration(r.IntN(20_000))*time.Millisecond, func() {
			k.BlackHole(false, dirs...)
		})
	}
}

// retire has another session take the place of the one that there is.
func (p *peer) retire() {
	p.turn <- struct{}{}
	s := p.now
	<-p.turn
	if s != nil {
		s.Retire()
	}
}

// What has been written before a flow is closed arrives, although the link is lost by then, and
// nobody reads any more.
func TestCloseWhileSuspended(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		synctest.Wait()
		for _, k := range p.liveLinks() {
			k.BlackHole(true)
		}
		write(t, far, "last words")
		_ = far.Close()
		for _, k := range p.liveLinks() {
			k.Cut()
		}
		expect(t, f, "last words")
		expectEnd(t, f)
		_ = f.Close()
		time.Sleep(time.Second)
		if n := p.initiator.remain() + p.responder.remain(); n > 0 {
			t.Errorf("%d flows linger", n)
		}
	})
}

// failing is a link that is lost when its deadline is taken away for the first time.
type failing struct {
	Conn
	at atomic.Int32
}

func (c *failing) SetDeadline(t time.Time) error {
	if t.IsZero() && c.at.Add(1) == 1 {
		_ = c.Close()
		return net.ErrClosed
	}
	return c.Conn.SetDeadline(t)
}

// A flow whose link is lost just when it has been accepted goes on by another one: it is served.
func TestLinkIsLostAsFlowIsAccepted(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		var lost atomic.Int32
		s := p.sessionBy(func(context.Context) (Conn, error) {
			client, server := p.pipe()
			if lost.Load() == 1 {
				lost.Add(1)
				p.serve(&failing{Conn: server})
			} else {
				p.serve(server)
			}
			return client, nil
		})
		lost.Add(1)
		f := p.open(s)
		write(t, f, "is anybody there?")
		far := <-flows
		defer far.release()
		expect(t, far.Flow, "is anybody there?")
		if lost.Load() != 2 {
			t.Error("no link was lost")
		}
		_ = f.Close()
	})
}

// Whoever learns that nothing resumes a flow leaves it to the link that it has. A flow that loses
// that in the same moment ends then, and does not wait for what cannot come.
func TestStrandedFlowEnds(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		_, far := p.both(p.mustSession(), flows)
		defer far.release()
		ended := make(chan error)
		go func() {
			_, err := far.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		begun := time.Now()
		far.setAside(far.carrier()) // by whoever noticed that the link is lost
		far.lasting.finish()        // by whoever was told that the far end has no such flow
		far.Session().suspend(far.Flow)
		err := <-ended
		if took := time.Since(begun); !errors.Is(err, ErrGone) || took > testSurvive/8 {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// Flows that both ends have closed at once, so that neither opens what the other one said last,
// hold up no session that is going away, and are not remembered for ever.
func TestClosedAtBothEnds(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprint("going away ", leaves), func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				flows := p.accepted()
				s := p.mustSession()
				for range 3 {
					f, far := p.both(s, flows)
					synctest.Wait()
					_, _ = f.Close(), far.Close()
					far.release()
				}
				synctest.Wait()
				if p.initiator.remain() == 0 {
					t.Fatal("nothing lingers")
				}
				if leaves {
					began := time.Now()
					p.responder.GoAway()
					<-s.Done()
					if took := time.Since(began); took > 2*lingeringLeaving {
						t.Errorf("the session is over after %v", took)
					}
					return
				}
				time.Sleep(testSurvive + 10*time.Second)
				if n, m := p.initiator.remain(), p.responder.remain(); n+m > 0 {
					t.Errorf("%d and %d flows linger", n, m)
				}
			})
		})
	}
}

// What is not resumed in time ends with an error at both ends, and not before.
func TestSurviveEnds(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		synctest.Wait()
		p.plan = func(int) faultnet.Plan {
			return faultnet.Plan{{Kind: faultnet.Reset, Unit: faultnet.Byte, At: 0}}
		}
		began := time.Now()
		for _, k := range p.liveLinks() {
			k.Cut()
		}
		for name, f := range map[string]*Flow{"initiator": f, "responder": far.Flow} {
			_, err := f.Read(make([]byte, 1))
			wantNoEOF(t, err)
			if took := time.Since(began); took < testSurvive || took > testSurvive+time.Second {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		}
	})
}

// A flow of which the other end knows nothing any more ends at once.
func TestResumeOfNothing(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		write(t, far, "x")
		expect(t, f, "x")
		far.lasting.finish()
		far.tidy()
		far.release()
		began := time.Now()
		for _, k := range p.liveLinks() {
			k.Cut()
		}
		_, err := f.Read(make([]byte, 1))
		wantNoEOF(t, err)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if errors.Is(err, errNoWay) {
			t.Error(err)
		}
	})
}

// A flow of which nothing had come to the far end when its link and its session were lost ends with
// an error that says so, and its number counts as used from then on. What had come goes on. It does
// not matter how often the far end has to say so until the answer arrives.
func TestNeverSeen(t *testing.T) {
	for name, lost := range map[string]int{"at once": 0, "after answers that were lost": 5} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) { p.neverSees(lost) })
		})
	}
}

func (p *peer) neverSees(lost int) {
	t := p.t
	flows := p.accepted()
	s := p.mustSession()
	seen, far := p.both(s, flows)
	defer far.release()
	p.plan = func(int) faultnet.Plan { return faultnet.Line(time.Hour, 0) }
	unseen := p.open(s)
	write(t, unseen, "is anybody there?")
	synctest.Wait()
	id := unseen.lasting.id
	_, _, used, err := p.responder.lookUp(id.session, id.number)
	if err != nil {
		t.Fatal(err)
	}
	var links atomic.Int64
	p.plan = func(int) faultnet.Plan {
		if n := int(links.Add(1)); n < 2 || n > 1+lost { // the first one is the next session's
			return nil
		}
		return faultnet.Plan{{
			Kind: faultnet.Reset, Dir: faultnet.ServerToClient, Unit: faultnet.Byte, At: 1,
		}}
	}
	for _, k := range p.liveLinks() {
		k.Cut()
		synctest.Wait() // the session goes first: the flow would be sent again on another link
	}
	if _, err := unseen.Read(make([]byte, 1)); !errors.Is(err, ErrNeverSeen) {
		t.Errorf("%v, want %v", err, ErrNeverSeen)
	}
	if ok, _ := used.use(id.number); ok {
		t.Error("the flow may still come")
	}
	write(t, seen, "and you?")
	expect(t, far, "and you?")
	if len(flows) > 0 {
		t.Error("the flow has come")
	}
}

// A new flow whose links only break, while its session lives, fails soon. One that the far end has
// answered waits.
func TestNewFlowsFail(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		s := p.mustSession()
		old := p.greeted(s)
		synctest.Wait()
		p.noWay()
		began := time.Now()
		f := p.open(s)
		write(t, f, "is anybody there?")
		_, err := f.Read(make([]byte, 1))
		wantNoEOF(t, err)
		if took := time.Since(began); took > 5*time.Second || s.Err() != nil {
			t.Errorf("%v after %v; session: %v", err, took, s.Err())
		}
		p.liveLinks()[1].Cut()
		time.Sleep(testSurvive / 2)
		p.calm()
		write(t, old, "still there?")
		expect(t, old, "still there?")
	})
}

// Both sides agree on whether flows outlive their links, whatever little one of them says.
func TestSurviveUnits(t *testing.T) {
	for survive, want := range map[time.Duration]time.Duration{
		time.Millisecond - 1: 0, time.Millisecond: time.Millisecond,
		2*time.Millisecond - 1: time.Millisecond, -1: 0,
	} {
		change := func(a, b *Config) { a.Survive, b.Survive = survive, testSurvive }
		inBubble(t, change, func(t *testing.T, l *lab) {
			flows := l.accepted()
			s, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
			if err != nil {
				t.Fatal(err)
			}
			f, far := l.both(s, flows)
			defer far.release()
			if a, b := f.Session().survive, far.Session().survive; a != want || b != want {
				t.Errorf("%v: %v and %v, want %v", survive, a, b, want)
			}
		})
	}
}

// What is remembered of epochs that are over is forgotten when their flows cannot be resumed any
// more, and is never more than so much.
func TestPastIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Session{survive: testSurvive}
		var p past
		for n := range 2 * pastMost {
			p.add(s, &epoch{id: sessionID{byte(n), byte(n >> 8)}})
		}
		if n := len(p.epochs); n != pastMost {
			t.Errorf("%d epochs are remembered, want %d", n, pastMost)
		}
		if _, ok := p.get(sessionID{1}); ok {
			t.Error("the oldest is remembered")
		}
		other := &Session{survive: testSurvive, id: identity.Identifier{1}}
		p.add(other, &epoch{id: sessionID{0, 0, 1}})
		for n := range 2 * pastMost {
			p.add(s, &epoch{id: sessionID{byte(n), byte(n >> 8), 2}})
		}
		if _, ok := p.get(sessionID{0, 0, 1}); !ok || len(p.epochs) != pastMost {
			t.Errorf("one far end's sessions are forgotten for another's, or %d are remembered",
				len(p.epochs))
		}
		time.Sleep(testSurvive + time.Second)
		p.add(s, &epoch{id: sessionID{1, 2, 3}})
		if _, ok := p.get(sessionID{1, 2, 3}); !ok || len(p.epochs) != 1 {
			t.Errorf("%d epochs are remembered, want the last one", len(p.epochs))
		}
	})
}

// A reset behind this side's end is no record. The other end is told of it although the session has
// been lost, whether or not that is known: in the one that takes its place.
func TestResetBehindTheEnd(t *testing.T) {
	for _, known := range []bool{true, false} {
		for _, initiator := range []bool{true, false} {
			t.Run(fmt.Sprintf("known %v, initiator %v", known, initiator), func(t *testing.T) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) {
					p.resetBehindTheEnd(known, initiator)
				})
			})
		}
	}
}

func (p *peer) resetBehindTheEnd(known, initiator bool) {
	t := p.t
	flows := p.accepted()
	near, far := p.both(p.mustSession(), flows)
	defer far.release()
	f, g := near, far.Flow
	if !initiator {
		f, g = g, f
	}
	_ = f.CloseWrite()
	expectEnd(t, g)
	synctest.Wait()
	for _, k := range p.liveLinks() {
		if known {
			k.Cut()
		} else {
			k.BlackHole(true)
		}
	}
	if known {
		<-near.Session().Done()
	}
	_ = f.Reset()
	began := time.Now()
	err := g.AwaitReset()
	if took := time.Since(began); err == nil || took > testSurvive/2 {
		t.Errorf("told %v after %v", err, took)
	}
	_ = g.Close()
	time.Sleep(2 * testSurvive)
	p.wantNothingLeft()
}

// A reset behind the end, where nothing is lost, is forgotten as soon as the other end knows it.
func TestResetBehindTheEndIsForgotten(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		_ = f.CloseWrite()
		expectEnd(t, far)
		_ = f.Reset()
		if err := far.AwaitReset(); err == nil {
			t.Error("it is not told")
		}
		if p.initiator.remain() == 0 {
			t.Error("it would not be told again")
		}
		time.Sleep(testSurvive / 2) // some pings
		p.wantNothingLeft()
	})
}
