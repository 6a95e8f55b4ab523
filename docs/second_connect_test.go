// The second implementation as an inlet that says where to connect to.

package docs_test

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// wanted is the payload that asks for an address, by the document.
func wanted(kind byte, host string, port uint16) []byte {
	value := binary.BigEndian.AppendUint16([]byte(host), port)
	if kind == 5 {
		value = append(binary.BigEndian.AppendUint16(nil, port), host...)
	}
	return step(kind, string(value))
}

// greeter is a service that says one thing to whoever comes.
func greeter(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// TestConnect has the second implementation ask for addresses, and for what it may not reach.
func TestConnect(t *testing.T) {
	s, node, _ := trusted(t)
	service := greeter(t)
	allowed, err := transport.ParsePattern(service.String())
	check(t, err)
	outlet := &portal.Outlet{
		Choose: portal.Anywhere{Rules: portal.Rules{{Where: allowed}}},
		Logger: slog.New(slog.DiscardHandler),
	}
	node.Handle(route.ConnectName, outlet.Serve)
	n := s.session("")
	n.expect(5, nil)

	ip := service.Addr().As4()
	client := []byte("\x01\x04\x7f\x00\x00\x01\x9c\x40\x7f\x00\x00\x01\x17\x70")
	for _, payload := range [][]byte{
		wanted(3, string(ip[:]), service.Port()),
		append(wanted(3, string(ip[:]), service.Port()), client...),
		wanted(5, "localhost", service.Port()), // which is looked up
	} {
		f := n.open(nil, "connect", payload)
		f.end()
		if got := f.reply(); got != "hello" {
			t.Errorf("%x: the service says %q", payload, got)
		}
	}
	const no = "the outlet does not allow that"
	for _, payload := range [][]byte{
		wanted(3, string(ip[:]), 1),
		wanted(3, "\x7f\x00\x00\x02", service.Port()),
		wanted(5, "localhost", 1),
		wanted(5, "nowhere.invalid", service.Port()), // no name is known from another
	} {
		refused(t, n, payload, "\x03\x01"+string(rune(len(no)))+no)
	}
	const unread = "what it is to connect to cannot be read"
	for _, payload := range [][]byte{
		nil, step(1, "outlet"), wanted(3, string(ip[:]), 0), step(6, "01234567"),
	} {
		refused(t, n, payload, "\x01\x01"+string(rune(len(unread)))+unread)
	}
}

// refused wants an answer, and nothing more.
func refused(t *testing.T, n *session, payload []byte, status string) {
	t.Helper()
	f := n.open(nil, "connect", payload)
	if got := string(f.takeData(len(status))); got != status {
		t.Errorf("%x: the answer is %q, want %q", payload, got, status)
	}
	f.end()
}
