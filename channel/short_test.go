package channel

import (
	"io"
	"testing"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// With little memory flows carry the same as ever, and hold little while nobody reads at their end:
// no record is read whole that cannot be delivered.
func TestFlowsWhenMemoryIsShort(t *testing.T) {
	all := budget.Process.Most()
	budget.Process.Take(all)
	defer budget.Process.Give(all)
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		f, a := l.both(l.session(), flows)
		data := pattern(4 << 20)
		before := budget.Process.Taken()
		source, sourceEnd := faultnet.Pipe()
		sink, sinkEnd := faultnet.Pipe()
		go func() {
			_, _ = source.Write(data)
			_ = source.CloseWrite()
		}()
		copied := make(chan error, 2)
		go func() {
			_, err := f.ReadFrom(sourceEnd)
			if err == nil {
				err = f.CloseWrite()
			}
			copied <- err
		}()
		full := &full{Conn: netio.Wrap(sinkEnd)}
		go func() {
			_, err := a.WriteTo(full)
			if err == nil {
				err = sinkEnd.CloseWrite()
			}
			copied <- err
		}()
		half := make([]byte, len(data)/2)
		if _, err := io.ReadFull(sink, half); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(sink)
		if err != nil || string(half)+string(rest) != string(data) {
			t.Errorf("%d of %d bytes came, or others: %v", len(half)+len(rest), len(data), err)
		}
		for range 2 {
			if err := testkit.Within(t, copied, "copying"); err != nil {
				t.Error(err)
			}
		}
		if full.awaited == 0 {
			t.Error("records were read whole without asking whether they are taken")
		}
		a.release()
		if held := budget.Process.Taken() - before; held > 0 {
			t.Errorf("%d bytes are held", held)
		}
	})
}

// full is a destination that never says that it takes anything, and counts how often it is awaited.
type full struct {
	netio.Conn
	awaited int
}

func (w *full) Takes() int  { return 0 }
func (w *full) AwaitTakes() { w.awaited++ }
