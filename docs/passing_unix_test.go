//go:build unix

// What a bridge says of itself, and what it passes on.

package docs_test

import (
	"bytes"
	"testing"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// TestPassingOnInAChannel has sp pass on what the second implementation asks for in a channel: sp
// says that it does so, and the rest is from behind it.
func TestPassingOnInAChannel(t *testing.T) {
	s := newSecond(t, "")
	h := newSecond(t, "").listen()
	_, _, s.to = nodeThat(t, func(c *route.Config) {
		c.Forward = func(wire.Address) bool { return true }
	}, s.self.identifier())
	next := tcpStep(h.listener.Addr().String())
	n := s.session("")
	n.expect(5, nil)
	var made [][]byte
	for range 2 {
		f := n.start(nil, s.opening(nil, next, step(1, "service")).Bytes)
		asked := soon(t, h.asked)
		if b := f.takeData(3); !bytes.Equal(b, []byte{0, 1, 0}) {
			t.Fatalf("the bridge says %x of itself", b)
		}
		asked.link.send(answer(2, 1, "no")) // which is not true: hop 1 is the bridge
		if b := f.takeData(5); !bytes.Equal(b, []byte("\x02\x01\x02no")) {
			t.Fatalf("behind it comes %x", b)
		}
		made = append(made, asked.back[2:10])
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Errorf("one source has the labels %x", made)
	}
	s.dial(s.opening(nil, next, step(1, "service"))).status(3, 1, "") // it is in no channel
}
