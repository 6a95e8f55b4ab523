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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

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
	case errors.Is(err, errWrong), errors.Is(err, errFalseEnd), errors.Is(err, errHung):
		return nil, err
	}
	return err, nil
}

// ask is the client's side.
func (k talk) ask(tcp net.Conn) error {
	// Where a kernel has told a reset to who writes, it gives who reads at the same time an end;
	// netio's sockets do not.
	c := netio.Wrap(tcp)
	_ = c.SetDeadline(time.Now().Add(patience))
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
	if _, err := io.Copy(struct{ io.Writer }{c},
		io.LimitReader(pseudorandom(k.seed), k.up)); err != nil {
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
	// it is the client that judges how long a talk takes
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	defer c.Close()
	b := make([]byte, talkHeader)
	if n, err := io.ReadFull(c, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w after %d bytes of the header", errFalseEnd, n)
		}
		return err
	}
	k := talk{
		binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:])),
		int64(binary.BigEndian.Uint64(b[16:])),
	}
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
	return verifyFrom(r, pseudorandom(seed), size)
}

// verifyFrom reads size bytes that source has, too.
func verifyFrom(r, source io.Reader, size int64) error {
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

// complaint begins what a target says of what must not happen.
const complaint = "target:"

// answerTalkOrComplain answers a talk, and says on stderr what must not happen.
func answerTalkOrComplain(c conn) {
	if _, bad := judge(answerTalk(c.(*net.TCPConn))); bad != nil {
		fmt.Fprintln(os.Stderr, complaint, bad)
	}
}

// noComplaints fails the test if a target has seen what must not be.
func (w *topology) noComplaints() {
	for _, p := range w.targetProcesses {
		if said := p.stderr.String(); strings.Contains(said, complaint) {
			w.t.Errorf("%s", said)
		}
	}
}

// newCourse starts a portal for talks that go on whatever happens: each part can be killed and
// revived, and there are faults on each side of the relay.
//
//	client ─▶ inlet ─▶ near ─▶ relay ◀─ far ◀─ outlet ─▶ target
func newCourse(t testing.TB, flags ...string) *topology {
	t.Helper()
	w := newTopology(t, plan{relay: true, faults: true, program: "talk", inlets: 1, flags: flags})
	t.Cleanup(w.noComplaints)
	return w
}

// talkOnce is a talk through an inlet.
func talkOnce(inlet string, k talk) error {
	began := time.Now()
	c, err := dialWhere(inlet)
	if err != nil {
		return err
	}
	defer abandon(c)
	err = k.ask(c)
	if !inTime(began, talkTime) {
		err = errors.Join(fmt.Errorf("%w for %v", errHung, time.Since(began)), err)
	}
	return err
}

// firstGood talks until a talk goes well, and returns how long that took.
func (w *topology) firstGood() time.Duration {
	w.t.Helper()
	began := time.Now()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for seed := uint64(1); time.Since(began) < patience; seed++ {
		err := talkOnce(w.address, talk{seed, 1000, 1000})
		if err == nil {
			return time.Since(began)
		}
		if _, bad := judge(err); bad != nil {
			w.t.Fatal(bad)
		}
		<-pace.C
	}
	w.t.Fatal("nothing goes through any more")
	return 0
}

// load is talks that go on, several at once, whatever happens.
type load struct {
	inlet string
	most  int64 // bytes of a talk, each way

	good, told atomic.Int64 // talks that went well, and those that were told of an error
	carried    atomic.Int64 // bytes of those that went well

	mu        sync.Mutex
	bad       []error
	firstTold error
}

// under has workers talk through an inlet until the returned function is called, which waits for
// the last talks and fails the test for what must not have happened.
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
			d.mu.Lock()
			if d.told.Add(1) == 1 {
				d.firstTold = honest
			}
			d.mu.Unlock()
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
	return fmt.Sprintf("median %v, worst %v of %d", round(all[len(all)/2]), round(all[len(all)-1]),
		len(all))
}
