package channel

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
)

// memory is a carrier that is no link and belongs to no session.
type memory struct {
	*faultnet.Conn
	mu     sync.Mutex
	rested *input // what the flow has handed back
	frees  int
}

var _ carrier = (*memory)(nil)

func (m *memory) ReadLazy(room netio.Room) (int, error) { return netio.ReadLazy(m.Conn, room) }
func (m *memory) Quiet() bool                           { return netio.Quiet(m.Conn) }
func (m *memory) TakesMore() bool                       { return true }
func (m *memory) AwaitReset() error                     { return netio.AwaitReset(m.Conn) }
func (m *memory) Takes() int                            { return netio.Takes(m.Conn) }
func (m *memory) AwaitTakes()                           { netio.AwaitTakes(m.Conn) }
func (m *memory) ResetDelivered(time.Duration) error    { return m.Reset() }

func (m *memory) rest(in *input) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rested = in
}

func (m *memory) free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frees++
}

// isFree tells whether a flow has handed the carrier back.
func (m *memory) isFree() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frees == 1 && m.rested != nil && m.rested.empty()
}

func memoryPair() (near, far *memory) {
	client, server := faultnet.Pipe()
	return &memory{Conn: client}, &memory{Conn: server}
}

// swap gives both ends of a flow new carriers.
func swap(t *testing.T, near, far *Flow) (a, b *memory) {
	t.Helper()
	a, b = memoryPair()
	if !near.replace(a) || !far.replace(b) {
		t.Error("the flow is not open any more")
	}
	return a, b
}

// A flow gets another carrier between any two records, and delivers exactly what was written.
func TestCarrierIsReplaced(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		near, far := l.both(l.session(), flows)
		ways := [][2]*Flow{{near, far.Flow}, {far.Flow, near}}
		var a, b *memory
		for i := range 20 {
			for _, way := range ways {
				record := fmt.Sprintf("record %d", i)
				write(t, way[0], record)
				expect(t, way[1], record)
			}
			a, b = swap(t, near, far.Flow)
		}
		for _, way := range ways {
			write(t, way[0], "the last")
			_ = way[0].CloseWrite()
			expect(t, way[1], "the last")
			expectEnd(t, way[1])
		}
		if !a.isFree() || !b.isFree() {
			t.Error("the last carriers have not been handed back")
		}
		if near.replace(a) {
			t.Error("a flow that has ended takes another carrier")
		}
		far.release()
		l.waitServed(1) // the link went with its first replacement
	})
}

// What has been opened is the flow's: half a record is delivered after the carrier it came on has
// gone.
func TestOpenedOutlivesItsCarrier(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		near, far := l.both(l.session(), flows)
		write(t, near, "before and after")
		expect(t, far, "before")
		write(t, linkOf(near), "\x00\x20half a record, and no more of it")
		swap(t, near, far.Flow)
		write(t, near, ", and more")
		expect(t, far, " and after, and more")
		_ = near.Reset()
		far.release()
	})
}

// Who waits on a carrier goes on with the next one: to read, and to write.
func TestCarrierIsReplacedUnderWaiters(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		near, far := l.both(l.session(), flows)
		data := pattern(1 << 20)
		var tasks sync.WaitGroup
		tasks.Go(func() { expect(t, near, "an answer") })
		tasks.Go(func() {
			synctest.Wait() // the reader waits
			swap(t, near, far.Flow)
			write(t, far, "an answer")
		})
		tasks.Wait()

		// Nothing of the first record gets through, nor is it read.
		stuck, _ := faultnet.PipeSize(0)
		if !near.replace(&memory{Conn: stuck}) {
			t.Fatal("the flow is not open any more")
		}
		tasks.Go(func() {
			write(t, near, string(data[:1000]))
			write(t, near, string(data[1000:]))
			_ = near.CloseWrite()
		})
		synctest.Wait()
		swap(t, near, far.Flow)
		expect(t, far, string(data))
		expectEnd(t, far)
		tasks.Wait()
		_ = near.Reset()
		far.release()
	})
}

// Deadlines are the flow's, and hold on the next carrier.
func TestDeadlineOutlivesItsCarrier(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		near, far := l.both(l.session(), flows)
		_ = near.SetDeadline(time.Now().Add(time.Minute))
		swap(t, near, far.Flow)
		begin := time.Now()
		_, err := near.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("the deadline passed after %v", took)
		}
		_ = near.Reset()
		far.release()
	})
}

// A flow that awaits a reset goes on doing so on the next carrier.
func TestAwaitResetOutlivesItsCarrier(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		near, far := l.both(l.session(), flows)
		_ = near.CloseWrite()
		expectEnd(t, far)
		waited := make(chan error, 1)
		go func() { waited <- far.AwaitReset() }()
		synctest.Wait()
		swap(t, near, far.Flow)
		synctest.Wait()
		select {
		case err := <-waited:
			t.Errorf("it ended with its carrier: %v", err)
		default:
		}
		write(t, far, "answer")
		_ = far.CloseWrite()
		expect(t, near, "answer")
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
		far.release()
	})
}
