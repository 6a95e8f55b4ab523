package route

import (
	"log/slog"
	"net"
	"testing"
)

// quietLink is one on which nothing is on its way.
type quietLink struct {
	net.Conn
	_ int // or all would have one address
}

func (*quietLink) CloseWrite() error { return nil }

// To look whether links are stuck makes no garbage, however many there are: a relay that nobody
// uses does so for years.
func TestLookingMakesNoGarbage(t *testing.T) {
	h := newLinkHealth(slog.New(slog.DiscardHandler))
	for range 1000 {
		h.watch(new(quietLink))
	}
	if n := testing.AllocsPerRun(10, func() { h.resetStuck() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
