package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/pause"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

const (
	benchBuffer   = 64 << 10 // bytes that are written or read at once
	maxBenchTimes = 200_000  // of one byte there and back that are kept
	progressEvery = 250 * time.Millisecond
)

// errNoBench says that the service at the end of a route is not one to measure.
var errNoBench = withHint(errors.New("the outlet's service is not sp's own"),
	"start an outlet for this beside the other one, with --target bench: and a name of its own")

// bench measures a route. It belongs to one goroutine, but for moved.
type bench struct {
	ctx      context.Context
	node     *route.Node
	to       route.Route
	long     time.Duration // of each part
	timeout  time.Duration // for an answer
	streams  int
	direct   bool      // go past a relay, if that can be
	progress io.Writer // a terminal, or nil

	moved atomic.Int64 // what has been counted so far in this part
}

// run takes all parts, each of which does what it is to measure once at least: a process may stand
// still for all of its time. What has been said to be measured is nothing else: see open.
func (b *bench) run() (*benchResult, error) {
	first, err := b.open(portal.MeasureEcho)
	if err != nil {
		return nil, err
	}
	_ = first.Close()
	r := &benchResult{Seconds: b.long.Seconds(), Streams: b.streams, Direct: b.goDirectly()}
	for _, part := range []struct {
		name string
		unit string
		do   func() error
	}{
		{"there and back", "times", func() (err error) {
			r.Idle, err = b.latency(nil)
			return err
		}},
		{"to the service", "B", func() (err error) {
			r.Up, r.LoadedUp, err = b.loaded(portal.MeasureUp, b.up)
			return err
		}},
		{"from the service", "B", func() (err error) {
			r.Down, r.LoadedDown, err = b.loaded(portal.MeasureDown, b.down)
			return err
		}},
		{"connections", "times", func() (err error) {
			r.Connections, err = b.connections()
			return err
		}},
	} {
		b.moved.Store(0)
		stop := b.showProgress(part.name, part.unit)
		err := part.do()
		stop()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return r, nil
}

// goDirectly goes past the relay on the route, as connections do that are there for a while, and
// returns where to. It is empty if that cannot be, or is not to.
func (b *bench) goDirectly() string {
	if !b.direct {
		return ""
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	if state, err := b.node.TryDirect(ctx, b.to); err == nil && state.At.IsValid() {
		return state.At.String()
	}
	return ""
}

// showProgress keeps a line on the terminal until stop is called.
func (b *bench) showProgress(part, unit string) (stop func()) {
	if b.progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(b.ctx)
	var showing sync.WaitGroup
	began := time.Now()
	showing.Go(func() {
		for pause.For(ctx, progressEvery) {
			moved := fmt.Sprintf("%d %s", b.moved.Load(), unit)
			if unit == "B" {
				moved = size(float64(b.moved.Load()))
			}
			fmt.Fprintf(b.progress, "\r\x1b[K%s: %.1f of %.1f s, %s", part,
				time.Since(began).Seconds(), b.long.Seconds(), moved)
		}
	})
	return func() {
		cancel()
		showing.Wait()
		fmt.Fprint(b.progress, "\r\x1b[K")
	}
}

// open opens a connection to the service, waits for its greeting, and says what it is to do. A
// service that does not say the greeting hears nothing.
func (b *bench) open(what byte) (*route.Stream, error) {
	ctx, cancel := context.WithTimeoutCause(b.ctx, b.timeout, noAnswer(b.timeout))
	defer cancel()
	s, err := b.node.OpenAndAwait(ctx, b.to, 0, nil)
	if err != nil {
		return nil, err
	}
	_ = s.SetReadDeadline(time.Now().Add(b.timeout))
	if err := readGreeting(s); err != nil {
		_ = s.Reset()
		return nil, err
	}
	_ = s.SetReadDeadline(time.Time{})
	if _, err := s.Write(portal.AppendMeasure(nil, what, b.long)); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func readGreeting(r io.Reader) error {
	said := make([]byte, len(portal.MeasureGreeting))
	n, err := io.ReadFull(r, said)
	if string(said[:n]) != portal.MeasureGreeting[:n] || isTimeout(err) || err == io.EOF {
		return errNoBench
	}
	return err
}

// bounded has a stream end when the part should have been over long ago, or with the command.
func (b *bench) bounded(s *route.Stream) (release func() bool) {
	_ = s.SetDeadline(time.Now().Add(b.long + b.timeout))
	return context.AfterFunc(b.ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })
}

// latency sends a byte to and fro until the part, or over, has ended.
func (b *bench) latency(over <-chan struct{}) (l benchLatency, err error) {
	s, err := b.open(portal.MeasureEcho)
	if err != nil {
		return l, err
	}
	defer s.Close()
	defer b.bounded(s)()
	var all []time.Duration
	one := []byte{0}
	for end := time.Now().Add(b.long); len(all) == 0 ||
		time.Now().Before(end) && len(all) < maxBenchTimes; {
		began := time.Now()
		if _, err := s.Write(one); err != nil {
			return l, err
		}
		if _, err := io.ReadFull(s, one); err != nil {
			return l, err
		}
		all = append(all, time.Since(began))
		if over == nil {
			b.moved.Add(1)
			continue
		}
		select {
		case <-over:
			return latencyOf(all), nil
		default:
		}
	}
	return latencyOf(all), nil
}

// latencyOf sorts all.
func latencyOf(all []time.Duration) benchLatency {
	slices.Sort(all)
	if len(all) == 0 {
		return benchLatency{}
	}
	at := func(percent int) float64 { return all[(len(all)-1)*percent/100].Seconds() }
	return benchLatency{P50: at(50), P99: at(99), Times: len(all)}
}

// loaded has all streams carry data at once, and measures latency meanwhile. It returns bytes a
// second.
func (b *bench) loaded(
	what byte, do func(*route.Stream) (int64, error),
) (rate float64, l benchLatency, err error) {
	over := make(chan struct{})
	bytes, errs := make([]int64, b.streams), make([]error, b.streams+1)
	began := time.Now()
	var carrying, measuring sync.WaitGroup
	for i := range b.streams {
		carrying.Go(func() { bytes[i], errs[i] = b.carry(what, do) })
	}
	measuring.Go(func() { l, errs[b.streams] = b.latency(over) })
	carrying.Wait()
	took := time.Since(began).Seconds()
	close(over)
	measuring.Wait()
	total := int64(0)
	for _, n := range bytes {
		total += n
	}
	return float64(total) / took, l, errors.Join(errs...)
}

// carry opens a stream for one that carries data.
func (b *bench) carry(
	what byte, do func(*route.Stream) (int64, error),
) (int64, error) {
	s, err := b.open(what)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	defer b.bounded(s)()
	return do(s)
}

// up sends until the part has ended, and returns what the service has counted.
func (b *bench) up(s *route.Stream) (int64, error) {
	buffer := make([]byte, benchBuffer)
	for end := time.Now().Add(b.long); ; {
		n, err := s.Write(buffer)
		b.moved.Add(int64(n))
		if err != nil {
			return 0, err
		}
		if !time.Now().Before(end) {
			break
		}
	}
	if err := s.CloseWrite(); err != nil {
		return 0, err
	}
	var count [8]byte
	_, err := io.ReadFull(s, count[:])
	return int64(binary.BigEndian.Uint64(count[:])), err
}

// down takes what the service sends until that ends.
func (b *bench) down(s *route.Stream) (total int64, err error) {
	buffer := make([]byte, benchBuffer)
	for {
		n, err := s.Read(buffer)
		b.moved.Add(int64(n))
		if total += int64(n); err == io.EOF {
			return total, s.CloseWrite()
		}
		if err != nil {
			return total, err
		}
	}
}

// connections opens one connection after the other until the part has ended, each of which carries
// one byte there and back, and returns how many that are a second.
func (b *bench) connections() (float64, error) {
	began := time.Now()
	n := 0
	for n == 0 || time.Since(began) < b.long {
		if err := b.connection(); err != nil {
			return 0, err
		}
		n++
		b.moved.Add(1)
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// connection opens a connection as an inlet does: what is said first goes with the opening message,
// for it is known by now which service that is.
func (b *bench) connection() error {
	ctx, cancel := context.WithTimeoutCause(b.ctx, b.timeout, noAnswer(b.timeout))
	defer cancel()
	s, err := b.node.Open(ctx, b.to, route.Lazy)
	if err != nil {
		return err
	}
	defer s.Close()
	defer b.bounded(s)()
	if _, err := s.Write(append(portal.AppendMeasure(nil, portal.MeasureEcho, 0), 0)); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	_, err = io.ReadAll(io.LimitReader(s, int64(len(portal.MeasureGreeting))+1))
	if err == nil {
		_, err = s.Read(make([]byte, 1)) // its end
	}
	if err == io.EOF {
		err = nil
	}
	return err
}
