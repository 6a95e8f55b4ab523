package portal

import (
	"io"
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// Connections and their bytes are counted while they are open and when they have ended, those bytes
// too that went out with the opening message.
func TestCounts(t *testing.T) {
	p := newTunnel(t)
	type sample struct{ now, total, toService, toClient uint64 }
	read := func(of *netio.Tally) (s sample) {
		s.now, s.total = uint64(of.Open()), of.All()
		s.toService, s.toClient = of.Bytes()
		if of == outletTally {
			s.toService, s.toClient = s.toClient, s.toService
		}
		return s
	}
	testkit.Eventually(t, "earlier tests' connections have ended", func() bool {
		return read(inletTally).now == 0 && read(outletTally).now == 0
	})
	inlet, outlet := read(inletTally), read(outletTally)
	become := func(what string, open, up, down int) {
		t.Helper()
		want := sample{uint64(open), 1, uint64(up), uint64(down)}
		since := func(of *netio.Tally, before sample) sample {
			now := read(of)
			return sample{
				now.now - before.now, now.total - before.total,
				now.toService - before.toService, now.toClient - before.toClient,
			}
		}
		testkit.Eventually(t, what, func() bool {
			return since(inletTally, inlet) == want && since(outletTally, outlet) == want
		})
	}
	client, service := p.connect(t) // and a byte each way
	become("one that is open", 1, 1, 1)
	testkit.Write(t, client, "question")
	become("what is said meanwhile", 1, len("c"+"question"), 1)
	closeWrite(t, client)
	if _, err := io.ReadAll(service); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, service, "answer")
	closeWrite(t, service)
	if _, err := io.ReadAll(client); err != nil {
		t.Fatal(err)
	}
	become("one that has ended", 0, len("c"+"question"), len("s"+"answer"))
}

// A service that refuses is counted at the outlet, and the connection that fails at the inlet.
func TestCountsOfRefusals(t *testing.T) {
	p := newTunnel(t)
	_ = p.service.Close()
	before := outletRefusals.Value()
	p.expectRefused(t)
	testkit.Eventually(t, "one refusal", func() bool { return outletRefusals.Value() == before+1 })
}
