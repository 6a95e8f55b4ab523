package channel

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// suspensionOf returns what f waits in.
func suspensionOf(t *testing.T, f *Flow) *suspension {
	t.Helper()
	s := f.Session()
	s.suspending.Lock()
	defer s.suspending.Unlock()
	if s.suspending.now == nil {
		t.Fatal("it does not wait")
	}
	return s.suspending.now
}

// Flows that wait for a link are not given up because everything has stood still meanwhile: for
// longer than they may wait, and more than once.
func TestSuspendedOutlivesStandstill(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		flows := p.accepted()
		f, far := p.both(p.mustSession(), flows)
		defer far.release()
		synctest.Wait()
		var way atomic.Bool
		p.plan = func(int) faultnet.Plan {
			if way.Load() {
				return nil
			}
			return faultnet.Plan{{Kind: faultnet.Reset, Unit: faultnet.Byte, At: 0}}
		}
		for _, k := range p.liveLinks() {
			k.Cut()
		}
		for range 10 {
			time.Sleep(time.Second)
			for _, f := range []*Flow{f, far.Flow} {
				// so late is the next look of a process that stands still until then
				suspensionOf(t, f).expire(time.Now().Add(2 * testSurvive))
			}
		}
		if !f.isOpen() || !far.isOpen() {
			t.Errorf("%v, %v", f.Err(), far.Err())
		}
		way.Store(true)
		write(t, f, "are you there?")
		expect(t, far.Flow, "are you there?")
	})
}
