//go:build unix

package test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// TestProxyProtocol reads what the service is told.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest, authority := newPerson(t), newPerson(t)
		token := guest.file("token", authority.vouch(guest.identifier(), "--attr", "role=db",
			"--attr", "zone=eu=1"))
		d := newDoor(t, through, "--authority", authority.identifier(), "--proxy-protocol", "v2")
		d.connected(guest.start(d.inletArgs("--credential", token)...))
		client, target := d.open()
		send(t, client, "hello")
		h := readProxyHeader(t, target)
		receives(t, target, "hello")
		if h.from.String() != client.LocalAddr().String() || h.to.String() != d.address {
			t.Errorf("the client is %s at %s, and the service is told %s at %s", client.LocalAddr(),
				d.address, h.from, h.to)
		}
		want := fmt.Sprint([]string{
			"e0 " + guest.identifier(), "e1 authority", "e2 role=db",
			"e2 zone=eu=1",
		})
		if got := fmt.Sprint(h.values); got != want {
			t.Errorf("the service is told %s, want %s", got, want)
		}
		send(t, target, "welcome")
		receives(t, client, "welcome")

		// Without a TCP client there is nothing to say about it, and the Identifier is said all the
		// same.
		pipe := guest.command(d.inletArgsAt("-", "--credential", token)...)
		pipe.Stdin = strings.NewReader("from a pipe")
		start(t, pipe)
		target = d.accept()
		h = readProxyHeader(t, target)
		if h.from.IsValid() || h.values[0] != "e0 "+guest.identifier() {
			t.Errorf("%+v", h)
		}
		receives(t, target, "from a pipe")
	})
}

// proxyHeader is a header of the PROXY protocol, version 2.
type proxyHeader struct {
	from, to netip.AddrPort
	values   []string // type and text
}

func readProxyHeader(t testing.TB, c io.Reader) (h proxyHeader) {
	t.Helper()
	fixed := make([]byte, 16)
	if _, err := io.ReadFull(c, fixed); err != nil ||
		string(fixed[:12]) != "\r\n\r\n\x00\r\nQUIT\n" {
		t.Fatalf("%q is no header: %v", fixed, err)
	}
	rest := make([]byte, binary.BigEndian.Uint16(fixed[14:]))
	if _, err := io.ReadFull(c, rest); err != nil {
		t.Fatal(err)
	}
	switch [2]byte(fixed[12:14]) {
	case [2]byte{0x20, 0x00}: // LOCAL
	case [2]byte{0x21, 0x11}: // PROXY, TCP over IPv4
		from, _ := netip.AddrFromSlice(rest[:4])
		to, _ := netip.AddrFromSlice(rest[4:8])
		h.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(rest[8:]))
		h.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(rest[10:]))
		rest = rest[12:]
	default:
		t.Fatalf("command and family %#x", fixed[12:14])
	}
	for len(rest) > 0 {
		n := 3 + int(binary.BigEndian.Uint16(rest[1:]))
		h.values = append(h.values, fmt.Sprintf("%x %s", rest[0], rest[3:n]))
		rest = rest[n:]
	}
	return h
}
