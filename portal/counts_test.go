package portal

import (
	"io"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// Connections are counted while they are open and for good, and their bytes when they have ended:
// those too that went out with the opening message.
func TestCounts(t *testing.T) {
	p := newTunnel(t)
	type sample struct{ now, total, sent, received int64 }
	read := func(c *counts) sample {
		return sample{
			c.now.Value(), int64(c.total.Value()),
			int64(c.toStream.Value()), int64(c.fromStream.Value()),
		}
	}
	since := func(c *counts, before sample) sample {
		now := read(c)
		return sample{
			now.now - before.now, now.total - before.total,
			now.sent - before.sent, now.received - before.received,
		}
	}
	testkit.Eventually(t, "earlier tests' connections have ended", func() bool {
		return inletCounts.now.Value() == 0 && outletCounts.now.Value() == 0
	})
	inlet, outlet := read(&inletCounts), read(&outletCounts)
	client, service := p.connect(t) // and a byte each way
	if got := since(&inletCounts, inlet); got.now != 1 || got.total != 1 {
		t.Errorf("inlet, open: %+v", got)
	}
	if got := since(&outletCounts, outlet); got.now != 1 || got.total != 1 {
		t.Errorf("outlet, open: %+v", got)
	}
	testkit.Write(t, client, "question")
	closeWrite(t, client)
	if _, err := io.ReadAll(service); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, service, "answer")
	closeWrite(t, service)
	if _, err := io.ReadAll(client); err != nil {
		t.Fatal(err)
	}
	const up, down = int64(len("c" + "question")), int64(len("s" + "answer"))
	testkit.Eventually(t, "the counts of an ended connection", func() bool {
		return since(&inletCounts, inlet) == sample{0, 1, up, down} &&
			since(&outletCounts, outlet) == sample{0, 1, down, up}
	})
}

// A service that refuses is counted at the outlet, and the connection that fails at the inlet.
func TestCountsOfRefusals(t *testing.T) {
	p := newTunnel(t)
	_ = p.service.Close()
	before := outletRefusals.Value()
	p.expectRefused(t)
	testkit.Eventually(t, "one refusal", func() bool { return outletRefusals.Value() == before+1 })
}
