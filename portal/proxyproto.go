package portal

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// An outlet can tell its service who is calling, in front of everything else, with a header of the
// PROXY protocol, version 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt):
//
//	signature (12) | version and command (1) | family (1) | length (2) | addresses | values
//
// The addresses are those of the application's connection to the inlet, as the inlet says. If it
// does not say, because that is no TCP connection, the command is LOCAL, the family 0, and there
// are none. The values, each of type (1), length (2) and bytes, are there in any case, and are what
// the outlet has verified:
//
//	type  value
//	0xE0  the inlet's Identifier, as text
//	0xE1  what it is trusted by: self, allow, allow-file, authority or anyone
//	0xE2  key=value: an attribute of its credential; one for each, in the order of their keys
const (
	proxySignature  = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLocal      = 0x20
	proxyProxy      = 0x21
	proxyUnspec     = 0x00
	proxyTCP4       = 0x11
	proxyTCP6       = 0x21
	proxyIdentifier = 0xE0
	proxyAnchor     = 0xE1
	proxyAttribute  = 0xE2
)

// header returns what the service is told of q before all else, or nil.
func (o *Outlet) header(q *route.Request) ([]byte, error) {
	if !o.ProxyProtocol {
		return nil, nil
	}
	return proxyHeader(q.Message.Payload, q.Session.Peer().Identifier(), q.Session.Decision())
}

// proxyHeader makes the header for an inlet that is who it is by decision d, and has said payload
// about its client.
func proxyHeader(payload []byte, id identity.Identifier, d trust.Decision) ([]byte, error) {
	b := append([]byte(proxySignature), proxyLocal, proxyUnspec, 0, 0)
	start := len(b)
	if len(payload) > 0 {
		c, err := wire.ParseOrigin(payload)
		if err != nil {
			return nil, route.RefuseBecause(wire.BadMessage, "the client's address cannot be read", err)
		}
		b[start-4], b[start-3] = proxyProxy, proxyTCP6
		if c.From.Addr().Is4() {
			b[start-3] = proxyTCP4
		}
		b = append(append(b, c.From.Addr().AsSlice()...), c.To.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, c.From.Port())
		b = binary.BigEndian.AppendUint16(b, c.To.Port())
	}
	b = appendValue(b, proxyIdentifier, id.String())
	b = appendValue(b, proxyAnchor, d.Anchor.String())
	for _, key := range slices.Sorted(maps.Keys(d.Attributes)) {
		b = appendValue(b, proxyAttribute, fmt.Sprintf("%s=%s", key, d.Attributes[key]))
	}
	// There are at most 36 bytes of addresses and 18 values of at most 323.
	binary.BigEndian.PutUint16(b[start-2:], uint16(len(b)-start))
	return b, nil
}

func appendValue(b []byte, kind byte, value string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, kind), uint16(len(value)))
	return append(b, value...)
}

// clientPayload is what an inlet tells the outlet about app's connection: nothing unless that is
// TCP.
func clientPayload(app netio.Conn) []byte {
	from, to := addrPort(app.RemoteAddr()), addrPort(app.LocalAddr())
	b, err := wire.AppendOrigin(nil, wire.Origin{From: from, To: to})
	if err != nil {
		return nil
	}
	return b
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
