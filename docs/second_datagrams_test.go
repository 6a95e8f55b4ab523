package docs_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route/transport"
)

// TestDatagramsOfSecond has the second implementation be an inlet of datagrams: its frames are cut
// as they like, and each comes back as it was.
func TestDatagramsOfSecond(t *testing.T) {
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(t, err)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		b := make([]byte, 1<<16)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	defer func() {
		_ = echo.Close()
		<-answered
	}()
	s, node, _ := trusted(t)
	target, err := transport.ParseUDP("udp://"+echo.LocalAddr().String(), "")
	check(t, err)
	outlet := &portal.Outlet{Target: target}
	node.Handle("datagrams_x", outlet.Serve)

	n := s.session("")
	n.expect(5, nil)
	f := n.open(nil, "datagrams_x", nil)
	if status := f.takeData(3); !bytes.Equal(status, []byte{0, 1, 0}) {
		t.Fatalf("the flow's status is %x", status)
	}
	large := bytes.Repeat([]byte("datagram"), 8189)[:65507]
	for _, d := range [][]byte{nil, []byte("x"), large, nil, large[:4096]} {
		frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(d))), d...)
		half := len(frame) / 2
		f.link.send(f.send.record(0, frame[:half]))
		f.link.send(f.send.record(0, frame[half:]))
		back := make([]byte, len(frame))
		if _, err := io.ReadFull(f, back); err != nil || !bytes.Equal(back, frame) {
			t.Fatalf("a datagram of %d bytes: %v", len(d), err)
		}
	}
	f.link.send(f.send.record(0, []byte{0, 1, 7, 0, 1, 8})) // two in one record
	f.end()
	rest, err := io.ReadAll(f)
	if len(rest) > 6 || err != nil || !bytes.HasPrefix([]byte{0, 1, 7, 0, 1, 8}, rest) {
		t.Errorf("%x, %v", rest, err) // what is on its way at the end may be lost
	}

	for service, reason := range map[string]string{
		"x":              "it is a service of datagrams (UDP), and this asks for connections",
		"datagrams_echo": "it is a service of connections (TCP), and this asks for datagrams",
		"datagrams_y":    "no service named datagrams_y",
	} {
		f = n.open(nil, service, nil)
		want := append([]byte{2, 1, byte(len(reason))}, reason...)
		if status := f.takeData(len(want)); !bytes.Equal(status, want) {
			t.Errorf("%s: %q", service, status)
		}
	}
	f = n.open(nil, "datagrams_x", nil)
	if status := f.takeData(3); !bytes.Equal(status, []byte{0, 1, 0}) {
		t.Fatalf("the flow's status is %x", status)
	}
	f.link.send(f.send.record(0, []byte{0xff, 0xe4})) // one byte more than there may be
	if kind, _ := f.link.record(f.receive); kind != 2 {
		t.Errorf("a frame that is too long is answered with a record of type %d", kind)
	}
}
