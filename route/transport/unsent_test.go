package transport

import (
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/queue"
)

// holding is a socket that has not sent so many bytes.
type holding struct {
	*said
	unsent int
}

func (h holding) Unsent() int { return h.unsent }

// Whatever is above a socket, or a client of a broker, tells what that has not sent.
func TestUnsent(t *testing.T) {
	const some = 12345
	socket := holding{unsent: some}
	hub := queue.NewHub(queue.Config{
		Unsent: func() int { return some }, Most: queue.MaxMessage,
		Send: func(queue.Box, []byte) error { return nil },
	})
	defer hub.Close()
	slow := &kafkaQueue{}
	slow.long.used = kafkaUnderWay + some
	over := newBearer(&tlsLink{raw: &tlsSocket{Conn: socket}})
	nats := new(natsQueue)
	nats.socket.Store(onSocket{socket})
	for name, got := range map[string]int{
		"tls://": netio.Unsent(&tlsLink{raw: &tlsSocket{Conn: socket}}),
		"ws://":  netio.Unsent(&carrier{on: newBearer(socket)}),
		"direct": netio.Unsent(directCarrier{newBearer(socket)}),
		"bearer": netio.Unsent(over),
		"kafka":  slow.unsent(),
		"nats":   nats.unsent(),
	} {
		if got != some {
			t.Errorf("%s tells of %d bytes, want %d", name, got, some)
		}
	}
	if n := (&kafkaQueue{}).unsent(); n != 0 {
		t.Errorf("of nothing %d bytes are unsent", n)
	}
}
