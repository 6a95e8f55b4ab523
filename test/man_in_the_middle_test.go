//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// What the man in the middle does. Which of them leave a direction able to end well is for teeth to
// say.
var interferences = []faultnet.Kind{
	faultnet.Flip, faultnet.Drop, faultnet.Duplicate, faultnet.Reorder, faultnet.Truncate,
	faultnet.Cut, faultnet.End, faultnet.Reset,
}

// attackedMessages is how many messages at the beginning of a link are attacked, one after the
// other.
const attackedMessages = 64

// attackers is how many attacks are made at the same time, each on processes of its own: most of
// them are felt only by waiting.
func attackers() int { return testenv.OfRun(8, 16, 16) }

// attacks returns every interference in each direction at the positions that where selects, in an
// order that is always the same and mixes those that take long with those that do not. SP_FULL=1
// selects every position.
func attacks(where func(kind faultnet.Kind, at int) bool) []faultnet.Fault {
	long := testenv.Full()
	var all []faultnet.Fault
	for _, dir := range []faultnet.Direction{faultnet.ClientToServer, faultnet.ServerToClient} {
		for _, kind := range interferences {
			for at := range attackedMessages {
				if long || where(kind, at) {
					all = append(all, attack(kind, dir, at))
				}
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// attack returns an interference with message at. Which byte is flipped, or where the message is
// cut, goes around with the position: lengths, types, contents and tags all have their turn.
func attack(kind faultnet.Kind, dir faultnet.Direction, at int) faultnet.Fault {
	places := []int64{0, 1, 2, -1, 3, -17, 12, 5, -8, 20, 8}
	f := faultnet.Fault{
		Kind: kind, Dir: dir, Unit: faultnet.Message, At: int64(at),
		Off: places[at%len(places)],
	}
	switch kind {
	case faultnet.Flip:
		f.Mask = 1 << (at / 3 % 8)
	case faultnet.Drop, faultnet.Duplicate, faultnet.Reorder:
		f.Off = 0
	}
	return f
}

// TestManInTheMiddleOfFlows attacks the links that carry connections: long ones, so that whatever
// is missing is missed.
func TestManInTheMiddleOfFlows(t *testing.T) {
	t.Parallel()
	siege := newSiege(t)
	all := attacks(func(kind faultnet.Kind, at int) bool {
		every := testenv.OfRun(56, 14, 1)
		if kind == faultnet.Flip || kind == faultnet.Cut {
			every = testenv.OfRun(28, 4, 1)
		}
		return at < testenv.OfRun(1, 4, attackedMessages) || at%every == int(kind)%every ||
			at == attackedMessages-1
	})
	siege.each(all, attackers(), func(g *gate, f faultnet.Fault) {
		for range attempts {
			link, e := g.attackFlow(f, dialogue{pieces: attackedMessages + 20, size: 2 << 10})
			if !hasFired(link) {
				continue // pieces were put together, and the place did not come
			}
			if !e.untouchable(f) || sentAgain(f) {
				return
			}
			if !g.middle.passedBy() {
				t.Errorf("%v: the direction has ended well", f)
				return
			}
		}
		t.Errorf("%v: has not happened", f)
	})
}

// sentAgain tells whether a flow may get over an interference: nothing has come back on it yet, and
// it is sent again on another link, which the man in the middle leaves alone. The conversation
// checks every byte all the same.
func sentAgain(f faultnet.Fault) bool {
	const unanswered = 16 // messages of the conversation, of which no more are kept
	return f.Dir == faultnet.ClientToServer && f.At <= unanswered
}

// TestManInTheMiddleOfShortFlows attacks links on which short connections follow one another: their
// beginnings and their ends.
func TestManInTheMiddleOfShortFlows(t *testing.T) {
	t.Parallel()
	siege := newSiege(t)
	all := attacks(func(kind faultnet.Kind, at int) bool {
		return at < testenv.OfRun(2, 8, attackedMessages) || at == 8+5*int(kind)
	})
	siege.each(all, attackers(), func(g *gate, f faultnet.Fault) {
		short := dialogue{pieces: 2, size: 100, endInTurn: true}
		tries := attempts
		if f.Kind == faultnet.Reorder {
			tries = 2 // nothing may follow for as long as the message is held back
		}
		for range tries {
			link, _ := g.attackFlow(f, short)
			for range attackedMessages {
				if link == nil || over(link) {
					break
				}
				g.middle.closeLinks(flowLink, link) // one that was made ahead may come first
				g.converse(f, short)
			}
			if hasFired(link) {
				return
			}
		}
		if f.Kind != faultnet.Reorder {
			t.Errorf("%v: has not happened", f)
		}
	})
}

// TestManInTheMiddleOfControl attacks the link of the handshake and the pings. Connections end with
// the session, as they must, and new ones work.
func TestManInTheMiddleOfControl(t *testing.T) {
	t.Parallel()
	all := attacks(func(kind faultnet.Kind, at int) bool {
		return at < testenv.OfRun(1, 3, attackedMessages) ||
			at == testenv.OfRun(1+int(kind)/2, 3+2*int(kind), 0)
	})
	// Where pings come fast, a busy machine's sessions die of silence before it is the turn of a
	// late message.
	for _, keepalive := range []time.Duration{
		100 * time.Millisecond, time.Second,
		5 * time.Second,
	} {
		if len(all) > 0 {
			all = attackControls(newSiege(t, "--keepalive", unhurried(keepalive).String()), all)
		}
	}
	for _, f := range all {
		t.Errorf("%v: has not happened", f)
	}
}

// attackControls returns those attacks that have not happened.
func attackControls(l *siege, all []faultnet.Fault) (left []faultnet.Fault) {
	l.t.Helper()
	var mu sync.Mutex
	// most of the time they wait for pings
	l.each(all, 2*attackers(), func(_ *gate, f faultnet.Fault) {
		for range attempts {
			if l.attackControl(f) {
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		left = append(left, f)
	})
	return left
}

// hasFired tells whether a link's fault has happened.
func hasFired(link *faultnet.Link) bool { return link != nil && len(link.Fired()) > 0 }

// siege is what attacks have in common: an outlet, and behind it a target that knows all
// conversations.
//
//	client ─▶ sp inlet ─▶ man in the middle ─▶ sp outlet ─▶ target
//	          └───────── gate, one each ────┘
type siege struct {
	*topology
	flags []string

	mu            sync.Mutex
	conversations map[uint64]*conversation
	last          uint64 // conversation's number
	over          bool
}

// newSiege starts an outlet with flags that are the inlets' as well.
func newSiege(t *testing.T, flags ...string) *siege {
	t.Helper()
	l := &siege{
		topology: newOutlet(t, flags...), flags: flags,
		conversations: make(map[uint64]*conversation),
	}
	var tasks sync.WaitGroup
	tasks.Go(func() { l.serve(&tasks) })
	t.Cleanup(func() {
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
		_ = l.target.Close()
		l.outlet.kill()
		tasks.Wait()
	})
	return l
}

// each does work for each fault, several at a time, each worker with a gate that nobody else has.
func (l *siege) each(all []faultnet.Fault, workers int, work func(g *gate, f faultnet.Fault)) {
	l.t.Helper()
	queue := make(chan faultnet.Fault, len(all))
	for _, f := range all {
		queue <- f
	}
	close(queue)
	var tasks sync.WaitGroup
	for range workers {
		g := &gate{siege: l}
		tasks.Go(func() {
			defer g.close()
			for f := range queue {
				work(g, f)
			}
		})
	}
	tasks.Wait()
	l.t.Logf("%d attacks", len(all))
}

// serve is the target: it takes part in the conversation that a connection belongs to.
func (l *siege) serve(tasks *sync.WaitGroup) {
	for {
		c, err := l.target.AcceptTCP()
		if err != nil {
			return
		}
		tasks.Go(func() {
			defer c.Close()
			if talk, ok := l.conversation(c); ok {
				talk.take(c, talk.down, talk.up)
			}
		})
	}
}

// begin makes a new conversation.
func (l *siege) begin(f faultnet.Fault, d dialogue) *conversation {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	c := newConversation(l.last, fmt.Sprint(f), d, l.t)
	l.conversations[l.last] = c
	return c
}

// conversation reads which conversation c belongs to. Nothing that is no conversation must ever
// arrive.
func (l *siege) conversation(c io.Reader) (*conversation, bool) {
	number, err := readNumber(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, false
	}
	talk, ok := l.conversations[number]
	switch {
	case errors.Is(err, io.EOF):
		l.t.Error("the target has read an end that nobody sent")
	case err == nil && !ok:
		l.t.Errorf("the target has read something that nobody sent: %x", number)
	}
	return talk, ok && err == nil
}

// gate is an inlet behind a man in the middle.
type gate struct {
	siege   *siege
	middle  *middle
	inlet   *process
	address string
}

// startInlet starts the inlet, if it is not there, and the man in the middle if he is not.
func (g *gate) startInlet() bool {
	var err error
	if g.middle == nil {
		g.middle, err = newMiddle(hostPortOf(g.siege.route()))
	}
	if err == nil && g.inlet == nil {
		flags := append([]string{"inlet", "--listen", anywhere, "--to", g.middle.address()},
			g.siege.flags...)
		g.inlet, err = launch(g.siege.command(flags...))
	}
	if err != nil {
		g.siege.t.Error(err)
	}
	return err == nil
}

// ready waits for the inlet.
func (g *gate) ready() bool {
	if g.address != "" {
		return true
	}
	if !g.startInlet() {
		return false
	}
	var err error
	if g.address, err = g.inlet.readyLine(); err != nil {
		g.siege.t.Error(err)
	}
	return err == nil
}

func (g *gate) close() {
	if g.inlet != nil {
		g.inlet.kill()
		if err := g.inlet.trouble(); err != nil {
			g.siege.t.Error(err)
		}
	}
	if g.middle != nil {
		g.middle.close()
	}
	g.inlet, g.middle, g.address = nil, nil, ""
}

// attackFlow has a conversation on a new link, on which f happens. The link is nil if none was
// made.
func (g *gate) attackFlow(f faultnet.Fault, d dialogue) (*faultnet.Link, *conversation) {
	if !g.ready() {
		return nil, nil
	}
	g.middle.closeLinks(flowLink, nil)
	taken := g.middle.arm(flowLink, f)
	talk := g.converse(f, d)
	select {
	case link := <-taken:
		return link, talk
	default:
		return nil, talk
	}
}

// converse has a conversation through the gate.
func (g *gate) converse(f faultnet.Fault, d dialogue) *conversation {
	talk := g.siege.begin(f, d)
	c, err := dialWhere(g.address)
	switch {
	case err == nil:
		talk.take(c, talk.up, talk.down)
	case !errors.Is(err, syscall.ECONNRESET): // which may come before the dialing is over
		g.siege.t.Error(err)
	}
	return talk
}

// hangTime is how long an attack that is only felt by waiting is waited for, before the link is
// cut.
const hangTime = 300 * time.Millisecond

// betweenPieces is how fast one talks while an attack on the control link is waited for.
const betweenPieces = 20 * time.Millisecond

// attackControl lets f happen on the first link of a new inlet, while there is a conversation. It
// reports whether f has happened.
func (l *siege) attackControl(f faultnet.Fault) bool {
	g := &gate{siege: l}
	defer g.close()
	var err error
	if g.middle, err = newMiddle(hostPortOf(l.route())); err != nil {
		l.t.Error(err)
		return true
	}
	taken := g.middle.arm(controlLink, f)
	if !g.startInlet() {
		return true
	}
	var link *faultnet.Link
	select {
	case link = <-taken:
	case <-time.After(patience):
		l.t.Errorf("%v: the inlet makes no link", f)
		return true
	}
	var tasks sync.WaitGroup
	tasks.Go(func() { cutWhenFelt(link) })
	if !g.ready() {
		return true
	}
	tasks.Go(func() {
		for !over(link) {
			g.converse(f, dialogue{pieces: 10, size: 100, pause: betweenPieces})
		}
	})
	tasks.Wait()
	l.recovers(g, f)
	// of a message that nothing follows until it has come
	return hasFired(link) || f.Kind == faultnet.Reorder
}

func over(link *faultnet.Link) bool {
	select {
	case <-link.Done():
		return true
	default:
		return false
	}
}

// recovers has a conversation that nothing happens to.
func (l *siege) recovers(g *gate, f faultnet.Fault) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if talk := g.converse(f, dialogue{pieces: 1, size: 10, endInTurn: true}); talk.endedWell() {
			return
		}
	}
	l.t.Errorf("%v: the inlet does not recover", f)
}

// cutWhenFelt returns when the link is over: by itself, or cut some time after its fault has
// happened.
func cutWhenFelt(link *faultnet.Link) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var felt <-chan time.Time
	for {
		select {
		case <-link.Done():
			return
		case <-felt:
			_ = link.Close()
		case <-tick.C:
			if felt == nil && hasFired(link) {
				felt = time.After(unhurried(hangTime))
			}
		}
	}
}

// TestHonestMiddle is what the attacks are compared with: where nothing is done, conversations end
// well.
func TestHonestMiddle(t *testing.T) {
	t.Parallel()
	g := &gate{siege: newSiege(t)}
	defer g.close()
	if !g.ready() {
		return
	}
	for _, d := range []dialogue{
		{pieces: 1, size: 10, endInTurn: true},
		{pieces: 100, size: 1000, endInTurn: true},
	} {
		// a side gives up after silenceTime, which may be the machine's
		for left := attempts; ; left-- {
			talk := g.converse(faultnet.Fault{}, d)
			if talk.endedWell() {
				break
			}
			if left == 0 {
				t.Errorf("%+v has not ended well: up %d, down %d bytes", d, talk.up.received.Load(),
					talk.down.received.Load())
				break
			}
		}
	}
}
