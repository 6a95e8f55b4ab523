package set_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// world is a set of nodes that tell each other whose names are, over a network that a schedule
// breaks. It runs in a bubble of synctest, and does what the document asks of nodes: a node tells a
// name's first homes when the name has a new owner, when its list of nodes has changed, and every
// set.Refresh; and it answers who tells it something that is not so.
//
// The world knows what the nodes do not: when, in true time, a claim was made that a node knows of.
// What is checked with that is in the methods called check….
type world struct {
	testing.TB
	rng   *rand.Rand
	begin time.Time
	nodes []*worldNode
	cut   map[[2]int]bool // what is sent from one to the other is lost
	delay time.Duration   // the greatest of a message, but for those that come twice
	late  time.Duration   // the greatest of some, which is more than nodes reckon with
	calm  bool            // there are none of those any more
	log   []string        // what has happened, for a seed that fails

	queue eventQueue
	count int // of events, so that those of the same time have an order
}

type worldNode struct {
	*set.Owners
	index int
	id    set.NodeID
	up    bool
	born  int                   // how many times it was started
	skew  time.Duration         // of its clock, which it has another of with each start
	drift float64               // by which its clock is faster
	view  *set.List             // the nodes that it has sessions with, and itself
	order map[string][]set.Node // the homes of names, by the view
	known map[string]claimed
	holds map[string]identity.Identifier
}

// claimed is the truth about the claims that a node knows of.
type claimed struct {
	who         identity.Identifier
	first, last time.Duration // since the world began
}

// homesTold is how many of a name's homes are told of it.
const homesTold = 3

// maxDrift is by which part a clock is fast or slow: that is 4 seconds a day.
const maxDrift = 50e-6

type event struct {
	at    time.Duration
	count int
	run   func()
}

type eventQueue []event

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(e any)   { *q = append(*q, e.(event)) }

func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].count < q[j].count
}

func (q *eventQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func newWorld(t testing.TB, seed uint64, nodes int, delay time.Duration) *world {
	w := &world{
		TB: t, rng: rand.New(rand.NewPCG(seed, 0)), begin: time.Now(), delay: delay,
		cut: make(map[[2]int]bool),
	}
	for i := range nodes {
		w.nodes = append(w.nodes, &worldNode{index: i, id: nodeID(i + 1)})
		w.start(i)
	}
	return w
}

// now is the true time, since the world began.
func (w *world) now() time.Duration { return time.Since(w.begin) }

// clock is what a node's clock shows.
func (w *world) clock(n *worldNode) time.Time {
	now := w.now()
	return w.begin.Add(now + n.skew + time.Duration(float64(now)*n.drift))
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%12v ", w.now())+fmt.Sprintf(format, args...))
}

// fail ends the test, and shows what has happened.
func (w *world) fail(format string, args ...any) {
	w.Helper()
	for _, line := range w.log {
		w.Log(line)
	}
	w.Fatalf(format, args...)
}

// after has something happen after a while, as long as the node is not started anew; nil is the
// world.
func (w *world) after(d time.Duration, n *worldNode, run func()) {
	do := run
	if n != nil {
		born := n.born
		do = func() {
			if n.up && n.born == born {
				run()
			}
		}
	}
	w.count++
	heap.Push(&w.queue, event{w.now() + d, w.count, do})
}

// pass lets time pass, and what happens in it.
func (w *world) pass(d time.Duration) {
	end := w.now() + d
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		time.Sleep(e.at - w.now())
		e.run()
	}
	time.Sleep(end - w.now())
}

// upTo returns a random time up to, and not including, d.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// start starts a node, with an empty memory.
func (w *world) start(i int) {
	n := w.nodes[i]
	n.up, n.known, n.holds = true, make(map[string]claimed), make(map[string]identity.Identifier)
	n.born++
	n.skew = w.upTo(20*365*24*time.Hour) - 10*365*24*time.Hour
	n.drift = (2*w.rng.Float64() - 1) * maxDrift
	n.view = &set.List{}
	n.Owners = set.NewOwners(w.clock(n), set.OwnersConfig{
		Self: n.id, Judge: func(name string) set.NodeID { return n.homes(name)[0].ID },
	})
	w.logf("node %d is started", i)
	w.look(n)
	w.membership()
	var hourly func()
	hourly = func() {
		n.Expire(w.clock(n))
		w.tellAll(n)
		w.after(set.Refresh, n, hourly)
	}
	w.after(w.upTo(set.Refresh), n, hourly)
}

// stop kills a node.
func (w *world) stop(i int) {
	w.logf("node %d is killed", i)
	w.nodes[i].up = false
	w.membership()
}

// membership has each node notice, sooner or later, which nodes it has sessions with.
func (w *world) membership() {
	for _, n := range w.nodes {
		w.after(w.upTo(30*time.Second), n, func() { w.look(n); w.tellAll(n) })
	}
}

// look has a node look which nodes it has sessions with.
func (w *world) look(n *worldNode) {
	n.view, n.order = &set.List{}, make(map[string][]set.Node)
	for i, m := range w.nodes {
		if m != n && (!m.up || w.cut[[2]int{n.index, i}] || w.cut[[2]int{i, n.index}]) {
			continue
		}
		n.view.Put(set.Node{
			ID: m.id, Epoch: uint64(m.born), State: set.Up, Weight: 1,
			Addresses: []wire.Address{address(i)},
		})
	}
}

// part cuts what one side sends to the other, and perhaps what that one sends.
func (w *world) part(side, rest []int, bothWays bool) {
	w.logf("%v do not reach %v, both ways: %v", side, rest, bothWays)
	for _, i := range side {
		for _, j := range rest {
			w.cut[[2]int{i, j}] = true
			if bothWays {
				w.cut[[2]int{j, i}] = true
			}
		}
	}
	w.membership()
}

// heal makes the network whole.
func (w *world) heal() {
	w.logf("the network is whole")
	clear(w.cut)
	w.membership()
}

// tellAll has a node tell the homes of all its names.
func (w *world) tellAll(n *worldNode) {
	to := make([][]set.Record, len(w.nodes))
	for _, r := range n.Records(w.clock(n), nil) {
		for _, i := range w.homes(n, r.Name) {
			to[i] = append(to[i], r)
		}
	}
	for i, records := range to {
		w.send(n, w.nodes[i], records)
	}
}

// homes returns the nodes where a name is at home, as n sees it.
func (n *worldNode) homes(name string) []set.Node {
	if n.order[name] == nil {
		n.order[name] = n.view.Claims(name, homesTold)
	}
	return n.order[name]
}

// homes returns the nodes, other than n, that n tells of a name.
func (w *world) homes(n *worldNode, name string) (homes []int) {
	for _, home := range n.homes(name) {
		if home.ID != n.id {
			homes = append(homes, w.indexOf(home.ID))
		}
	}
	return homes
}

func (w *world) indexOf(id set.NodeID) int {
	return slices.IndexFunc(w.nodes, func(n *worldNode) bool { return n.id == id })
}

// tell has a node tell others of one name.
func (w *world) tell(n *worldNode, name string, to ...int) {
	if r, ok := n.Record(w.clock(n), name); ok {
		for _, i := range to {
			w.send(n, w.nodes[i], []set.Record{r})
		}
	}
}

// send has records arrive after a while, perhaps twice, perhaps after what is sent later.
func (w *world) send(from, to *worldNode, records []set.Record) {
	if len(records) == 0 {
		return
	}
	b, err := set.AppendRecords(nil, records)
	if err != nil {
		w.fail("%v cannot be told: %v", records, err)
	}
	truth := make([]claimed, len(records))
	for i, r := range records {
		truth[i] = w.truth(from, r.Name)
	}
	deliver := func() {
		if to.up && !w.cut[[2]int{from.index, to.index}] {
			w.deliver(from, to, b, truth)
		}
	}
	w.after(w.upTo(w.delay), nil, deliver)
	if w.rng.IntN(5) == 0 {
		w.after(w.upTo(2*w.delay), nil, deliver)
	}
	if w.late > 0 && !w.calm && w.rng.IntN(5) == 0 {
		w.after(w.upTo(w.late), nil, deliver)
	}
}

func (w *world) deliver(from, to *worldNode, b []byte, truth []claimed) {
	records, err := set.ParseRecords(b)
	if err != nil {
		w.fail("%x: %v", b, err)
	}
	for i, r := range records {
		before, had := to.Owner(w.clock(to), r.Name)
		got := to.Learn(w.clock(to), from.id, r)
		after, _ := to.Owner(w.clock(to), r.Name)
		w.checkLearned(to, r, got, before, after, truth[i])
		if after == r.Who { // what is closest to the truth is kept
			known := truth[i]
			if had && before == after {
				known.first = min(known.first, to.known[r.Name].first)
				known.last = max(known.last, to.known[r.Name].last)
			}
			to.known[r.Name] = known
		}
		if got.Lost {
			delete(to.holds, r.Name)
		}
		if got.Changed {
			w.logf("node %d hears from %d: %s is %v's", to.index, from.index, r.Name, r.Who)
			w.tell(to, r.Name, w.homes(to, r.Name)...)
		}
		if got.Answer {
			w.tell(to, r.Name, from.index)
		}
		w.checkTold(to, r.Name)
	}
}

// claim has somebody claim a name on a node.
func (w *world) claim(i int, name string, who identity.Identifier) bool {
	n := w.nodes[i]
	if !n.up {
		return false
	}
	before, had := n.Owner(w.clock(n), name)
	_, err := n.Claim(w.clock(n), name, who)
	if (err == nil) != (!had || before == who) {
		w.fail("%v claims %s on node %d, where it is %v's: %v", who, name, i, before, err)
	}
	if err != nil {
		return false
	}
	w.logf("node %d: %v claims %s", i, who, name)
	if !had {
		n.known[name] = claimed{who, w.now(), w.now()}
	}
	n.holds[name] = who
	w.tell(n, name, w.homes(n, name)...)
	return true
}

// release has whoever holds a name on a node release it.
func (w *world) release(i int, name string) {
	n := w.nodes[i]
	who, held := n.holds[name]
	if !n.up || !held {
		return
	}
	w.logf("node %d: %v releases %s", i, who, name)
	n.known[name] = w.truth(n, name)
	delete(n.holds, name)
	if !n.Release(w.clock(n), name, who) {
		w.fail("node %d: %v holds %s, and cannot release it", i, who, name)
	}
	w.tell(n, name, w.homes(n, name)...)
}

// truth returns the truth about the claims of a name that a node knows of.
func (w *world) truth(n *worldNode, name string) claimed {
	known := n.known[name]
	if _, held := n.holds[name]; held {
		known.last = w.now()
	}
	return known
}

// checkLearned makes sure that what a node says of a record is so, that who had the name before
// does not lose it to somebody who has claimed it later, and that a duplicate changes nothing.
func (w *world) checkLearned(to *worldNode, r set.Record, got set.Learned,
	before, after identity.Identifier, truth claimed,
) {
	switch {
	case got.Changed != (before != after), got.Refused,
		got.Lost != (got.Changed && to.holds[r.Name] == before && !before.IsZero()),
		got.Changed && after != r.Who, got.Changed && before != got.Was:
		w.fail("node %d: %s was %v's and is %v's: %+v", to.index, r.Name, before, after, got)
	case w.late == 0 && got.Changed && !before.IsZero() &&
		to.known[r.Name].first+set.Settled <= truth.first:
		w.fail("node %d: %v has had %s since %v and loses it to %v, who has it since %v", to.index,
			before, r.Name, to.known[r.Name].first, after, truth.first)
	}
	again := to.Learn(w.clock(to), nodeID(1000), r)
	if who, _ := to.Owner(w.clock(to), r.Name); again.Changed || again.Lost || who != after {
		w.fail("node %d: %s twice: %+v", to.index, r.Name, again)
	}
}

// checkTold makes sure that what a node tells of a name is not older than it is, and not younger by
// more than set.Slack. Clocks that are fast add to that.
func (w *world) checkTold(n *worldNode, name string) {
	r, ok := n.Record(w.clock(n), name)
	if !ok {
		return
	}
	truth, fast := w.truth(n, name), time.Duration(float64(w.now())*2*maxDrift)
	// On its way from one node to the next, a later claim may pass for an echo of the one before.
	unheard := time.Duration(len(w.nodes)-1) * set.Slack
	isAge := func(got, then, unheard time.Duration) bool {
		age := w.now() - then
		return got <= age+unheard+fast && (got >= age-fast-set.Slack || w.late > 0)
	}
	_, held := n.holds[name]
	if r.Who != truth.who || r.Held != held || !isAge(r.First, truth.first, 0) ||
		!isAge(r.Last, truth.last, unheard) {
		w.fail("node %d: %s, claimed by %v at %v and %v, is told as %+v", n.index, name, truth.who,
			truth.first, truth.last, r)
	}
}

// checkAgreed makes sure that a name has one owner, whoever knows of it. It returns the owners.
func (w *world) checkAgreed(names []string) map[string]identity.Identifier {
	w.Helper()
	owners := make(map[string]identity.Identifier)
	for _, name := range names {
		for _, n := range w.nodes {
			who, ok := n.Owner(w.clock(n), name)
			if one, known := owners[name]; ok && known && one != who {
				w.fail("%s is %v's, and %v's on node %d", name, one, who, n.index)
			}
			if ok {
				owners[name] = who
			}
		}
	}
	return owners
}
