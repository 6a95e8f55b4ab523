//go:build unix

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
)

// Figures of docs/reliability.md come from these tests with SP_FULL=1; without it they are small enough for each run.
func full() bool { return os.Getenv("SP_FULL") == "1" }

// ofFull returns one of two sizes of a test.
func ofFull[T any](small, large T) T {
	if full() {
		return large
	}
	return small
}

// talk is one connection's traffic, of which every byte and every end is checked:
//
//	client: seed (8) | up (8) | down (8) | up bytes of the seed's stream, end
//	target: down bytes of another stream, and when all has come and was right, verdict (1), end
type talk struct {
	seed     uint64
	up, down int64
}

const (
	talkHeader  = 24
	talkVerdict = 'k'
	talkTime    = 40 * time.Second // a talk that takes longer hangs
)

// What must never happen to a talk. Any other error is an honest one.
var (
	errWrong    = errors.New("wrong byte")
	errFalseEnd = errors.New("false end")
	errHung     = errors.New("hung")
)

// judge tells what may happen from what may not.
func judge(err error) (honest, bad error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%w: %w", errHung, err)
	case errors.Is(err, errWrong), errors.Is(err, errFalseEnd):
		return nil, err
	}
	return err, nil
}

// ask is the client's side.
func (k talk) ask(tcp net.Conn) error {
	// Where a kernel has told a reset to who writes, it gives who reads at the same time an end; netio's sockets do not.
	c := netio.Wrap(tcp)
	_ = c.SetDeadline(time.Now().Add(talkTime))
	sent := make(chan error, 1)
	go func() { sent <- k.say(c) }()
	err := verify(c, ^k.seed, k.down)
	if err == nil {
		err = verdict(c)
	}
	if err != nil {
		abandon(tcp) // and so the sender ends too
		if sending := <-sent; errors.Is(sending, os.ErrDeadlineExceeded) {
			err = errors.Join(err, sending)
		}
		return err
	}
	return errors.Join(<-sent, c.Close())
}

func (k talk) say(c netio.Conn) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, talkHeader), k.seed)
	b = binary.BigEndian.AppendUint64(b, uint64(k.up))
	b = binary.BigEndian.AppendUint64(b, uint64(k.down))
	if _, err := c.Write(b); err != nil {
		return err
	}
	if _, err := io.Copy(struct{ io.Writer }{c}, io.LimitReader(pseudorandom(k.seed), k.up)); err != nil {
		return err
	}
	return c.CloseWrite()
}

// verdict reads what the target says of what it got, and its end.
func verdict(c io.Reader) error {
	b, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errFalseEnd
	}
	if string(b) != string(talkVerdict) {
		return errWrong
	}
	return nil
}

// answerTalk is the target's side.
func answerTalk(tcp *net.TCPConn) error {
	_ = tcp.SetLinger(0) // who is killed resets, and does not end
	c := netio.Wrap(tcp)
	_ = c.SetDeadline(time.Now().Add(talkTime + soon))
	defer c.Close()
	b := make([]byte, talkHeader)
	if n, err := io.ReadFull(c, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w after %d bytes of the header", errFalseEnd, n)
		}
		return err
	}
	k := talk{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:]))}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{c}, io.LimitReader(pseudorandom(^k.seed), k.down))
		sent <- err
	}()
	err := verify(c, k.seed, k.up)
	if err == nil {
		err = onlyEnd(c)
	}
	if err != nil {
		_ = c.Close()
	}
	if sending := <-sent; err == nil {
		err = sending
	}
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte{talkVerdict}); err != nil {
		return err
	}
	_ = tcp.SetLinger(-1)
	return c.Close()
}

// onlyEnd reads the end, and nothing before it.
func onlyEnd(r io.Reader) error {
	n, err := r.Read(make([]byte, 1))
	switch {
	case n > 0:
		return fmt.Errorf("%w: more than was sent", errWrong)
	case err == io.EOF:
		return nil
	}
	return err
}

// verify reads size bytes of a seed's stream.
func verify(r io.Reader, seed uint64, size int64) error {
	source := pseudorandom(seed)
	got, want := make([]byte, 32<<10), make([]byte, 32<<10)
	for read := int64(0); read < size; {
		n, err := r.Read(got[:min(size-read, int64(len(got)))])
		_, _ = source.Read(want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("%w in the %d after %d", errWrong, n, read)
		}
		read += int64(n)
		if err == io.EOF && read < size {
			return fmt.Errorf("%w after %d of %d", errFalseEnd, read, size)
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// abandon closes c with a reset: what has not been ended is not to look so.
func abandon(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// talkVariable has this test binary be the target of talks, at the address it holds: a process that can be killed.
const talkVariable = "SP_TALK_TARGET"

func init() {
	if where := os.Getenv(talkVariable); where != "" {
		fatal(serveTarget(where, talkTarget))
	}
}

// serveTarget says where it listens, and serves connections until the process is killed.
func serveTarget(where string, serve func(*net.TCPConn)) error {
	l, err := net.Listen("tcp", where)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(c.(*net.TCPConn))
	}
}

// talkTarget answers a talk, and says on stderr what must not happen.
func talkTarget(c *net.TCPConn) {
	if _, bad := judge(answerTalk(c)); bad != nil {
		fmt.Fprintln(os.Stderr, "target:", bad)
	}
}

// course is a service behind a relay, with a fault laboratory on each hop. Each of the four processes can be killed, and
// comes back where it was.
//
//	client ─▶ inlet ─▶ near ─▶ relay ◀─ far ◀─ outlet ─▶ target
type course struct {
	*nodes
	flags                []string
	relayAt, inletAt     string
	targetAt             string
	near, far            *faultnet.ProxyServer
	relay, outlet, inlet *labProcess
	target               *process
	targets              []*process // those killed too
}

// parts are what can be killed.
var parts = []string{"relay", "outlet", "inlet", "target"}

func newCourse(t *testing.T, flags ...string) *course {
	t.Helper()
	c := &course{nodes: newNodes(t), flags: flags}
	c.relayAt, c.inletAt, c.targetAt = lastingAddress(t), lastingAddress(t), lastingAddress(t)
	c.near = labProxy(t, c.relayAt, nil)
	c.far = labProxy(t, c.relayAt, nil)
	for _, part := range []string{"target", "relay", "outlet", "inlet"} {
		c.begin1(part)
	}
	t.Cleanup(c.check)
	return c
}

// lastingAddress returns an address that nobody takes while the process that listens there is away: one outside the
// range from which the kernel takes ports for outgoing connections.
func lastingAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(11000+rand.N(20000)))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// begin1 starts one part and waits until it is ready.
func (c *course) begin1(part string) {
	c.t.Helper()
	run := func(args ...string) *labProcess {
		p := c.start(append(args, c.flags...)...)
		p.ready()
		return p
	}
	switch part {
	case "target":
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), talkVariable+"="+c.targetAt)
		c.target = background(c.t, cmd)
		c.targets = append(c.targets, c.target)
		ready(c.t, c.target)
	case "relay":
		c.relay = run("relay", "--listen", c.relayAt)
	case "outlet":
		c.outlet = run("outlet", "--relay", c.far.Addr(), "--name", "db", "--target", c.targetAt)
	case "inlet":
		c.inlet = run("inlet", "--listen", c.inletAt, "--to", "db@"+c.near.Addr())
	}
}

// kill1 kills one part with SIGKILL.
func (c *course) kill1(part string) {
	switch part {
	case "target":
		c.target.kill()
	case "relay":
		c.relay.kill()
	case "outlet":
		c.outlet.kill()
	case "inlet":
		c.inlet.kill()
	}
}

// check fails the test if a target has seen what must not be.
func (c *course) check() {
	for _, p := range c.targets {
		if said := p.stderr.String(); strings.Contains(said, "target:") {
			c.t.Errorf("%s", said)
		}
	}
}

// talkOnce is a talk through an inlet.
func talkOnce(inlet string, k talk) error {
	c, err := net.DialTimeout("tcp", inlet, talkTime)
	if err != nil {
		return err
	}
	defer abandon(c)
	return k.ask(c)
}

// firstGood talks until a talk goes well, and returns how long that took.
func (c *course) firstGood() time.Duration {
	c.t.Helper()
	began := time.Now()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for seed := uint64(1); time.Since(began) < labPatience; seed++ {
		err := talkOnce(c.inletAt, talk{seed, 1000, 1000})
		if err == nil {
			return time.Since(began)
		}
		if _, bad := judge(err); bad != nil {
			c.t.Fatal(bad)
		}
		<-pace.C
	}
	c.t.Fatal("nothing goes through any more")
	return 0
}

// load is talks that go on, several at once, whatever happens.
type load struct {
	inlet string
	most  int64 // bytes of a talk, each way

	good, told atomic.Int64 // talks that went well, and those that were told of an error
	carried    atomic.Int64 // bytes of those that went well

	mu  sync.Mutex
	bad []error
}

// under has workers talk through an inlet until the returned function is called, which waits for the last talks and
// fails the test for what must not have happened.
func under(t *testing.T, inlet string, workers int, most int64, seed uint64) (*load, func()) {
	d := &load{inlet: inlet, most: most}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	for n := range workers {
		tasks.Go(func() { d.work(ctx, rand.New(rand.NewPCG(seed, uint64(n)))) })
	}
	stop := sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
		for _, err := range d.bad {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return d, stop
}

func (d *load) work(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		k := talk{r.Uint64(), r.Int64N(d.most), r.Int64N(d.most)}
		honest, bad := judge(talkOnce(d.inlet, k))
		switch {
		case bad != nil:
			d.mu.Lock()
			d.bad = append(d.bad, fmt.Errorf("talk %+v: %w", k, bad))
			d.mu.Unlock()
		case honest != nil:
			d.told.Add(1)
			select { // nobody hurries to a door that is shut
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		default:
			d.good.Add(1)
			d.carried.Add(k.up + k.down)
		}
	}
}

// awaitGood waits until n more talks have gone well.
func (d *load) awaitGood(t *testing.T, n int64) {
	t.Helper()
	want := d.good.Load() + n
	eventually(t, "talks that go well", func() bool { return d.good.Load() >= want })
}

func (d *load) String() string {
	return fmt.Sprintf("%d talks went well (%d MiB), %d were told of an error, %d must not be",
		d.good.Load(), d.carried.Load()>>20, d.told.Load(), len(d.bad))
}

// spread is the figures of many measurements.
func spread(all []time.Duration) string {
	slices.Sort(all)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("median %v, worst %v of %d", round(all[len(all)/2]), round(all[len(all)-1]), len(all))
}

// TestKilled kills each process under load and starts it again: no wrong byte, no false end, nobody hangs, and the first
// connection after it is back goes well within two seconds.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := ofFull(3, 50)
	for _, part := range parts {
		t.Run(part, func(t *testing.T) {
			c := newCourse(t, "--log-level", "error")
			d, stop := under(t, c.inletAt, 4, ofFull[int64](256<<10, 4<<20), 1)
			var took []time.Duration
			for range rounds {
				d.awaitGood(t, 4)
				c.kill1(part)
				c.begin1(part)
				took = append(took, c.firstGood())
			}
			stop()
			t.Logf("%s killed: first good connection after %s; %v", part, spread(took), d)
			// On a busy machine that runs the race detector time says nothing.
			if within := 2 * time.Second; full() && !raceDetector && took[len(took)-1] > within {
				t.Errorf("the first good connection came after %v, want %v", took[len(took)-1], within)
			}
		})
	}
}

// TestSoak has a random fault each second while talks go on, for as long as SP_SOAK says.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := ofFull(10*time.Second, time.Minute)
	if s := os.Getenv("SP_SOAK"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range faultnet.Seeds(t, 1) {
		t.Logf("seed %d: %s=%d replays it", seed, faultnet.SeedVariable, seed)
		soak(t, seed, lasts)
	}
}

func soak(t *testing.T, seed uint64, lasts time.Duration) {
	t.Helper()
	c := newCourse(t, "--log-level", "error", "--keepalive", "1s", "--connect-timeout", "5s")
	d, stop := under(t, c.inletAt, 4, 1<<20, seed)
	r := rand.New(rand.NewPCG(seed, 1))
	count := make(map[string]int)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for over := time.After(lasts); ; {
		select {
		case <-over:
			c.heal()
			took := c.firstGood()
			stop()
			t.Logf("%v with seed %d, race detector %t: %v; faults %v; well again after %v",
				lasts, seed, raceDetector, d, count, took.Round(time.Millisecond))
			return
		case <-second.C:
			c.heal()
			count[c.harm(r)]++
		}
	}
}

// harm does one thing that goes wrong, and returns what.
func (c *course) harm(r *rand.Rand) string {
	where := []*faultnet.ProxyServer{c.near, c.far}[r.IntN(2)]
	switch kind := r.IntN(8); kind {
	case 0, 1, 2, 3:
		c.kill1(parts[kind])
		c.begin1(parts[kind])
		return parts[kind] + " killed"
	case 4:
		where.Cut()
		return "cut"
	case 5:
		where.Reset()
		return "reset"
	case 6:
		where.BlackHole(true)
		return "black hole"
	default:
		where.BlackHole(true, faultnet.Direction(r.IntN(2)))
		return "black hole one way"
	}
}

// heal ends what harm has left.
func (c *course) heal() {
	c.near.BlackHole(false)
	c.far.BlackHole(false)
}
