package portal

import (
	"encoding/hex"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/wire"
)

func TestProxyHeader(t *testing.T) {
	var id identity.Identifier
	who := "e0" + "0041" + hex.EncodeToString([]byte(id.String()))
	const signature = "0d0a0d0a000d0a515549540a"
	attributes := trust.Decision{
		Anchor: trust.AnchorAuthority, Attributes: map[string]string{"zone": "", "role": "db"},
	}
	for name, test := range map[string]struct {
		client   wire.Origin
		decision trust.Decision
		want     string
	}{
		"IPv4": {
			wire.Origin{
				From: netip.MustParseAddrPort("192.0.2.1:54321"),
				To:   netip.MustParseAddrPort("127.0.0.1:5432"),
			},
			trust.Decision{Anchor: trust.AnchorAllow},
			"21" + "11" + "0058" + "c0000201" + "7f000001" + "d431" + "1538" + who + "e1" + "0005" +
				"616c6c6f77",
		},
		"IPv6": {
			wire.Origin{
				From: netip.MustParseAddrPort("[2001:db8::1]:1"),
				To:   netip.MustParseAddrPort("[::1]:65535"),
			},
			trust.Decision{Anchor: trust.AnchorSelf},
			"21" + "21" + "006f" + "20010db8000000000000000000000001" +
				"00000000000000000000000000000001" + "0001" + "ffff" +
				who + "e1" + "0004" + "73656c66",
		},
		"nothing but attributes": {
			wire.Origin{},
			attributes,
			"20" + "00" + "0062" + who + "e1" + "0009" + "617574686f72697479" +
				"e2" + "0007" + "726f6c653d6462" + "e2" + "0005" + "7a6f6e653d",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var payload []byte
			if test.client != (wire.Origin{}) {
				var err error
				if payload, err = wire.AppendOrigin(nil, test.client); err != nil {
					t.Fatal(err)
				}
			}
			b, err := proxyHeader(payload, id, test.decision)
			if got := hex.EncodeToString(b); err != nil || got != signature+test.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, signature+test.want)
			}
		})
	}
	if b, err := proxyHeader([]byte("x"), id, attributes); err == nil {
		t.Errorf("%x is made of what cannot be read", b)
	}
	longest := make(map[string]string)
	for i := range identity.MaxAttributes {
		key := strings.Repeat("k", identity.MaxAttributeKey-1) + string(rune('a'+i))
		longest[key] = strings.Repeat("v", identity.MaxAttributeValue)
	}
	d := trust.Decision{Anchor: trust.AnchorAuthority, Attributes: longest}
	b, err := proxyHeader(nil, id, d)
	if err != nil || len(b) != 16+68+12+identity.MaxAttributes*(3+64+1+255) {
		t.Errorf("the longest header has %d bytes, %v", len(b), err)
	}
}

// An inlet says something about TCP connections only.
func TestClientPayload(t *testing.T) {
	for network, address := range map[string]string{
		"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s"),
	} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		payload := clientPayload(wrap(c))
		if network == "unix" {
			if payload != nil {
				t.Errorf("of a Unix socket it says %x", payload)
			}
			continue
		}
		got, err := wire.ParseOrigin(payload)
		if err != nil || got.From.String() != client.LocalAddr().String() ||
			got.To.String() != l.Addr().String() {
			t.Errorf("%+v, %v", got, err)
		}
	}
}
