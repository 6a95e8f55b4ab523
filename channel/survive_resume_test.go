package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/noise"
)

// interrupted is a flow that has lost its link with something unsaid in both directions, and what
// happens to the next links.
type interrupted struct {
	*peer
	near *Flow
	far  *acceptedFlow
	made int // links, before that happened
}

const (
	nearSays = "what the initiator had to say"
	farSays  = "and what the responder had"
)

// interrupt has the links to come go by plan, and the flow lose the link that it has.
func interrupt(p *peer, plan func(link int) faultnet.Plan) *interrupted {
	flows := p.accepted()
	near, far := p.both(p.mustSession(), flows)
	write(p.t, near, "x")
	expect(p.t, far, "x")
	write(p.t, far, "y")
	expect(p.t, near, "y")
	time.Sleep(time.Second) // all is acknowledged
	made, last := p.made(), p.lastLink()
	p.plan = func(link int) faultnet.Plan { return plan(link - made) }
	last.BlackHole(true)
	write(p.t, near, nearSays)
	write(p.t, far, farSays)
	synctest.Wait()
	last.Cut()
	return &interrupted{p, near, far, made}
}

// goesOn fails unless both ends get what was said, and what is said then. Both are read at the same
// time, as a portal does: of a link that is reset the one who reads it hears, and nobody else.
func (i *interrupted) goesOn(where string) {
	i.t.Helper()
	defer i.far.release()
	deadline := time.Now().Add(testSurvive / 2)
	_, _ = i.near.SetReadDeadline(deadline), i.far.SetReadDeadline(deadline)
	read := make(chan struct{})
	go func() {
		defer close(read)
		expect(i.t, i.near, farSays)
	}()
	expect(i.t, i.far, nearSays)
	<-read
	write(i.t, i.near, "on")
	expect(i.t, i.far, "on")
	write(i.t, i.far, "and on")
	expect(i.t, i.near, "and on")
	if i.t.Failed() {
		i.t.Fatal(where)
	}
	_, _ = i.near.CloseWrite(), i.far.CloseWrite()
	expectEnd(i.t, i.near)
	expectEnd(i.t, i.far)
}

// said is how much either side says on a link on which a flow is resumed until it has gone on.
var said = map[faultnet.Direction]int64{
	faultnet.ClientToServer: int64(flowHelloSize + overhead + requestSize),
	faultnet.ServerToClient: int64(overhead + answerSize),
}

// eachByte runs f with a flow whose next link goes by a fault of that kind, at one byte after the
// other of what either side says until the flow has gone on, and some bytes more.
func eachByte(
	t *testing.T, kind faultnet.Kind, more int64,
	f func(i *interrupted, dir faultnet.Direction, at int64),
) {
	t.Helper()
	for _, dir := range directions {
		for at := int64(0); at < said[dir]+more; at += testenv.OfRun[int64](7, 3, 1) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				i := interrupt(p, func(link int) faultnet.Plan {
					if link > 0 {
						return nil
					}
					return faultnet.Plan{{Kind: kind, Dir: dir, Unit: faultnet.Byte, At: at}}
				})
				f(i, dir, at)
				if len(p.linksFrom(i.made)[0].Fired()) == 0 {
					t.Errorf("%s at %d has not happened", dir, at)
				}
			})
		}
	}
}

// A link on which a flow is resumed may end, in whatever way, or swallow what comes, at any byte:
// the flow goes on on the next one. Nobody notices that what is said later is swallowed, as on any
// other link.
func TestResumeCutAtEveryByte(t *testing.T) {
	for kind, more := range map[faultnet.Kind]int64{
		faultnet.Cut: 60, faultnet.End: 60, faultnet.Reset: 60, faultnet.HalfOpen: 60,
		faultnet.BlackHole: 0,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			eachByte(t, kind, more, func(i *interrupted, dir faultnet.Direction, at int64) {
				i.goesOn(fmt.Sprint(dir, " at ", at))
			})
		})
	}
}

// Who changes a byte of a request or an answer gains nothing, and ends nothing: the flow goes on on
// the next link. What is behind them is the flow's own, which ends with an error.
func TestResumeDamagedAtEveryByte(t *testing.T) {
	const own = int64(overhead + min(len(nearSays), len(farSays)))
	eachByte(t, faultnet.Flip, own, func(i *interrupted, dir faultnet.Direction, at int64) {
		where := fmt.Sprint(dir, " at ", at)
		if at < said[dir] {
			i.goesOn(where)
			return
		}
		end := i.far.Flow
		if dir == faultnet.ServerToClient {
			end = i.near
		}
		defer i.far.release()
		_ = end.SetReadDeadline(time.Now().Add(testSurvive / 2))
		n, err := end.Read(make([]byte, 100))
		longer := at < said[dir]+lengthSize && isTimeout(err) // the record's length: the rest is awaited
		if n > 0 || !longer && !errors.Is(err, ErrForged) {
			i.t.Errorf("%s: %d bytes, %v", where, n, err)
		}
	})
}

// What is said to resume a flow may come when that is over: in the same session, or when that has
// been lost as well. It is refused, and the flow does not notice.
func TestLateResume(t *testing.T) {
	const late = 20 * time.Second
	for _, dir := range directions {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprint(dir, ", session lost ", lost), func(t *testing.T) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) {
					began := time.Now()
					i := interrupt(p, func(link int) faultnet.Plan {
						if link > 0 {
							return nil
						}
						return faultnet.Plan{{Kind: faultnet.Delay, Dir: dir, For: late}}
					})
					if lost {
						p.liveLinks()[0].Cut()
					}
					expect(t, i.far, nearSays)
					expect(t, i.near, farSays)
					if took := time.Since(began); took > late {
						t.Fatalf("it goes on after %v only", took)
					}
					time.Sleep(time.Second)
					made, here, there := p.made(), linkOf(i.near), linkOf(i.far.Flow)
					time.Sleep(2 * late)
					if p.made() != made || linkOf(i.near) != here || linkOf(i.far.Flow) != there {
						t.Error("the flow has gone on once more")
					}
					write(t, i.near, "on")
					expect(t, i.far, "on")
					i.far.release()
				})
			})
		}
	}
}

// unended is a link whose end does not come to the other side.
type unended struct{ Conn }

func (*unended) Close() error { return nil }

// A request to go on elsewhere may come when it has been given up, and the flow has gone on where
// it was: it says less than has been acknowledged since. It is refused, and the flow does not
// notice.
func TestLateHandOver(t *testing.T) {
	const late, slow = resumeTimeout + time.Second, 3
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		near, far := p.both(p.mustSession(), flows)
		p.handle = echo // for the empty flow that proves a way
		made := 0
		end, err := near.Session().GoBy(t.Context(), func() (Conn, error) {
			client, server := p.pipe()
			if made++; made == 1 || made > 1+slow {
				p.serve(server)
				return client, nil
			}
			time.AfterFunc(late, func() { p.serve(server) })
			return &unended{client}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		const words = 300
		go func() {
			for range words {
				write(t, far, "word")
				time.Sleep(100 * time.Millisecond)
			}
			_ = far.CloseWrite()
		}()
		if got, err := io.ReadAll(near); err != nil || len(got) != words*len("word") {
			t.Errorf("%d bytes of %d, %v", len(got), words*len("word"), err)
		}
		if made <= 1+slow || !goesBy(near) {
			t.Errorf("after %d links it goes on elsewhere: %v", made, goesBy(near))
		}
		write(t, near, "on")
		expect(t, far, "on")
		far.release()
	})
}

// crossing is a relay that gives its first two links each other's answers.
type crossing struct {
	*peer
	links atomic.Int32
	first chan [2]*faultnet.Conn
}

func (c *crossing) take(initiator *faultnet.Conn) {
	n := c.links.Add(1)
	if n > 2 {
		c.serve(initiator)
		return
	}
	to, server := faultnet.Pipe()
	c.serve(server)
	copies := func(dst, src *faultnet.Conn) {
		_, _ = io.Copy(dst, src)
		_ = dst.Close()
	}
	go copies(to, initiator)
	if n == 1 {
		c.first <- [2]*faultnet.Conn{initiator, to}
		return
	}
	other := <-c.first
	go copies(other[0], to)
	go copies(initiator, other[1])
}

// A relay that gives the links of two flows each other's answers keeps neither from going on.
func TestExchangedAnswers(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		s := p.mustSession()
		f, far := p.both(s, flows)
		g, gone := p.both(s, flows)
		ends := [][2]*Flow{{f, far.Flow}, {g, gone.Flow}}
		for _, e := range ends {
			write(t, e[1], "x")
			expect(t, e[0], "x")
		}
		synctest.Wait()
		c := &crossing{peer: p, first: make(chan [2]*faultnet.Conn, 1)}
		p.relay = c.take
		for _, k := range p.liveLinks()[1:] {
			k.Cut()
		}
		for i, e := range ends {
			for _, e := range [][2]*Flow{e, {e[1], e[0]}} {
				write(t, e[0], fmt.Sprint("flow ", i))
				_ = e[1].SetReadDeadline(time.Now().Add(testSurvive / 2))
				expect(t, e[1], fmt.Sprint("flow ", i))
			}
		}
		if n := c.links.Load(); n < 4 {
			t.Errorf("%d links have been made", n)
		}
		far.release()
		gone.release()
	})
}

// another is a responder that links may be led to in place of the one that is meant.
type another struct {
	who     func(l *lab, own, trusted *identity.Identity) *identity.Identity
	trusts  bool  // the initiator
	accepts error // the name
	final   bool  // a flow of the one that is meant has nothing to wait for
}

func others() map[string]another {
	stranger := func(l *lab, _, _ *identity.Identity) *identity.Identity {
		return testkit.NewIdentity(l.t)
	}
	trusted := func(_ *lab, _, trusted *identity.Identity) *identity.Identity { return trusted }
	same := func(_ *lab, own, _ *identity.Identity) *identity.Identity { return own }
	return map[string]another{
		"a stranger":                   {who: stranger, trusts: true},
		"another identity":             {who: trusted, trusts: true},
		"another who does not trust":   {who: trusted},
		"another by another name":      {who: trusted, trusts: true, accepts: ErrWrongName},
		"same identity, another name":  {who: same, trusts: true, accepts: ErrWrongName},
		"same identity, new process":   {who: same, trusts: true, final: true},
		"same identity, trust is over": {who: same, final: true},
	}
}

// A flow whose links are led to somebody else for some time waits, and goes on when they lead where
// they should: nothing that others say is about it. What its own far end says, be it in another
// process, is.
func TestLedElsewhere(t *testing.T) {
	const during = 10 * time.Second
	for name, o := range others() {
		t.Run(name, func(t *testing.T) {
			trusted := testkit.NewIdentity(t)
			trusting := func(a, b *Config) {
				surviving(a, b)
				a.Trust = testkit.Trusting(t, a.Identity, a.Identity.Identifier(), trusted.Identifier())
			}
			inBubble(t, trusting, func(t *testing.T, l *lab) {
				l.tap = func(int, faultnet.Direction, []byte) {}
				p := &peer{lab: l, turn: make(chan struct{}, 1)}
				f := p.greeted(p.mustSession())
				synctest.Wait()
				own := l.responder.config.Identity
				other := o.endpoint(t, o.who(l, own, trusted), own)
				began := time.Now()
				p.relay = func(c *faultnet.Conn) {
					if time.Since(began) >= during {
						p.serve(c)
						return
					}
					accept := func(string) error { return o.accepts }
					l.tasks.Go(func() {
						_ = other.Serve(context.Background(), c, accept, func() {}, echo)
					})
				}
				stop := time.AfterFunc(during, func() { _ = other.Close() })
				defer stop.Stop()
				p.cutAll()
				_ = f.SetReadDeadline(began.Add(testSurvive - time.Second))
				b := []byte("still there?")
				_, err := f.Write(b) // it may know already that there is nothing to wait for
				if err == nil {
					_, err = io.ReadFull(f, b)
				}
				took := time.Since(began)
				switch {
				case !o.final && (err != nil || took < during):
					t.Errorf("%q, %v after %v", b, err, took)
				case o.final && (err == nil || isTimeout(err) || took > during/2):
					t.Errorf("%q, %v after %v: it has nothing to wait for", b, err, took)
				}
				_, _ = f.Close(), other.Close()
			})
		})
	}
}

func (o another) endpoint(t *testing.T, who, initiator *identity.Identity) *Endpoint {
	t.Helper()
	trusts := testkit.Trusting(t, testkit.NewIdentity(t))
	if o.trusts {
		trusts = testkit.Trusting(t, who, initiator.Identifier())
	}
	e, err := New(Config{
		Identity: who, Trust: trusts, Suites: []noise.Suite{quickSuite(t)}, Survive: testSurvive,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
