package transport

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/secureportal/sp/wire"
)

// readsAgain reads an address that is printed as short and as long, and checks that it can be read
// again from both, and from its bytes.
func readsAgain(t *testing.T, text, short, long string) Address {
	t.Helper()
	a, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if Format(a) != short || FormatStep(a) != long {
		t.Errorf("%s: it is %s and %s", text, Format(a), FormatStep(a))
	}
	again, err := Parse(Format(a))
	words := strings.Split(FormatStep(a), "/")[1:]
	step, took, failed := ParseStep(append(words, "secure", "api"))
	if again != a || err != nil || step != a || failed != nil || took != len(words) {
		t.Errorf("%s: read again %v, %v, and %v, %d, %v", text, again, err, step, took, failed)
	}
	b, err := wire.AppendAddress(nil, a)
	sent, rest, failed := wire.ParseAddress(b)
	if err != nil || failed != nil || len(rest) > 0 || sent != a {
		t.Errorf("%s: as bytes it is %v, %v, %v", text, sent, err, failed)
	}
	return a
}

// What is printed of an address over TLS or WebSocket can be read again, in both forms.
func TestURL(t *testing.T) {
	for text, want := range map[string]struct{ short, long string }{
		"tls://host":               {"tls://host", "/dnsaddr/host/tcp/443/tls"},
		"tls://host:444":           {"tls://host:444", "/dnsaddr/host/tcp/444/tls"},
		"tls://10.0.0.1:443":       {"tls://10.0.0.1", "/ip4/10.0.0.1/tcp/443/tls"},
		"tls://[2001:DB8::1]":      {"tls://[2001:db8::1]", "/ip6/2001:db8::1/tcp/443/tls"},
		"wss://host":               {"wss://host/", "/dnsaddr/host/tcp/443/wss/"},
		"wss://host/":              {"wss://host/", "/dnsaddr/host/tcp/443/wss/"},
		"WSS://host:443/sp":        {"wss://host/sp", "/dnsaddr/host/tcp/443/wss/sp"},
		"ws://[::1]:8080/a/b":      {"ws://[::1]:8080/a/b", "/ip6/::1/tcp/8080/ws/a%2Fb"},
		"ws://host/a%2fb//c@d":     {"ws://host/a%2fb//c@d", "/dnsaddr/host/tcp/80/ws/a%252fb%2F%2Fc@d"},
		"wss://[::ffff:10.0.0.1]/": {"wss://10.0.0.1/", "/ip4/10.0.0.1/tcp/443/wss/"},
		"quic://host:4433":         {"quic://host:4433", "/dnsaddr/host/udp/4433/quic-v1"},
		"QUIC://10.0.0.1:443":      {"quic://10.0.0.1:443", "/ip4/10.0.0.1/udp/443/quic-v1"},
		"quic://[2001:DB8::1]:1":   {"quic://[2001:db8::1]:1", "/ip6/2001:db8::1/udp/1/quic-v1"},
		"nats://host/sp.db":        {"nats://host/sp.db", "/nats/host/4222/sp.db"},
		"NATS://[2001:DB8::1]:1/q": {"nats://[2001:db8::1]:1/q", "/nats/2001:db8::1/1/q"},
		"kafka://10.0.0.1/a-b_c":   {"kafka://10.0.0.1/a-b_c", "/kafka/10.0.0.1/9092/a-b_c"},
		"kafka://host:9092/t":      {"kafka://host/t", "/kafka/host/9092/t"},
	} {
		readsAgain(t, text, want.short, want.long)
	}
	last, took, err := ParseStep([]string{"ip4", "10.0.0.1", "tcp", "80", "ws"})
	if err != nil || took != 5 || Format(last) != "ws://10.0.0.1/" {
		t.Errorf("without a path: %v, %d, %v", last, took, err)
	}
}

func TestURLErrors(t *testing.T) {
	for text, says := range map[string]string{
		"tls://":                        "a host name or address is missing",
		"wss://:443/sp":                 "a host name or address is missing",
		"nats://:4222/q":                "the host of the broker is missing",
		"nats://host":                   "a subject is missing: nats://host/SUBJECT",
		"kafka://host/":                 "a topic is missing: kafka://host/TOPIC",
		"nats://host/a.>":               "only letters",
		"nats://host/a..b":              "each dot",
		"nats://host/a/b":               "only letters",
		"nats://me:secret@host/a":       "NAME@ stands in front",
		"nats://host:0/a":               "never at port 0",
		"tls://host/path":               "has no path",
		"tls://host:0":                  "port 0",
		"tls://host:x":                  "a port is a number",
		"wss://host/a b":                "a path has only",
		"wss://host/%zz":                "a path has only",
		"wss://host?q":                  "a query has no place",
		"wss://host/p?q":                "a path has only",
		"wss://me@host/":                "NAME@ stands in front",
		"wss://[fe80::1%eth0]/":         "link-local",
		"wss://[::1/":                   "not closed",
		"wss://h_ st/":                  "only letters",
		"https://host/":                 "is wss://host/ meant?",
		"ssl://host":                    "is tls://host meant?",
		"ftp://host":                    "leave out ftp://",
		"quic://host":                   "a port is missing: quic://host:PORT",
		"quic://host:1/path":            "/dnsaddr/HOST/udp/PORT/quic-v1/",
		"quic://:1":                     "a host name or address is missing",
		"wss://h/" + long(wire.MaxHost): "at most",
	} {
		a, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40s: %v, %v, want %q", text, a, err, says)
		}
	}
	if _, err := ParseTarget("wss://host/", ""); err == nil {
		t.Error("a service is reached over a WebSocket")
	}
	for _, words := range []string{
		"dnsaddr/h/tcp/1/ws/%zz", "dnsaddr/h/tcp/1/ws/a%20b",
		"dnsaddr/h/udp/1", "dnsaddr/h/udp/1/tls", "ip4/10.0.0.1/udp/1/quic",
	} {
		if a, _, err := ParseStep(strings.Split(words, "/")); err == nil {
			t.Errorf("%s is %v", words, a)
		}
	}
}

// Where to listen may have no host, and the port may be 0.
func TestURLListen(t *testing.T) {
	for text, want := range map[string]string{
		"tls://:443":     "tls://:443",
		"wss://:0/sp":    "wss://:0/sp",
		"ws://127.0.0.1": "ws://127.0.0.1/",
		"ws://[::]:80/":  "ws://[::]/",
	} {
		a, err := ParseListen(text, "localhost")
		if err != nil || Format(a) != want {
			t.Errorf("%s: %s, %v", text, Format(a), err)
		}
	}
	everywhere, err := ParseListen("wss://:444/sp", "")
	if err != nil || !IsEverywhere(everywhere) {
		t.Fatalf("%v, %v", everywhere, err)
	}
	at := AtHost(everywhere, Address{Kind: wire.DNS, Name: "host", Port: 1})
	if IsEverywhere(at) || Format(at) != "wss://host:444/sp" {
		t.Errorf("there it is %s", Format(at))
	}
}

// A bridge takes an address over TLS or WebSocket for that one and no other, and not for the TCP
// address beneath.
func TestURLPattern(t *testing.T) {
	for text, wants := range map[string]map[string]bool{
		"tls://Host":            {"tls://host": true, "tls://host:444": false, "host:443": false},
		"wss://host/a":          {"wss://HOST/a": true, "wss://host/A": false, "ws://host:443/a": false},
		"ws://10.0.0.1:1/":      {"ws://10.0.0.1:1": true, "10.0.0.1:1": false},
		"10.0.0.0/8:1-65535":    {"tls://10.0.0.1": false, "10.0.0.1:443": true},
		"tls://169.254.169.254": {"tls://169.254.169.254": true},
	} {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		for other, want := range wants {
			a, err := Parse(other)
			if err != nil || p.Matches(a) != want {
				t.Errorf("%s and %s: %v, %v", text, other, !want, err)
			}
		}
	}
	named, _ := Parse("wss://name.example/sp")
	for _, ip := range []string{"127.0.0.1", "169.254.169.254", "::1"} {
		if err := Reaches(nil, named, netip.MustParseAddr(ip)); err == nil {
			t.Errorf("a name leads to %s", ip)
		}
	}
	written, _ := ParsePattern("wss://127.0.0.1/sp")
	other, _ := ParsePattern("127.0.0.1:443")
	home := netip.MustParseAddr("127.0.0.1")
	if err := Reaches([]Pattern{written}, named, home); err != nil {
		t.Error(err)
	}
	if err := Reaches([]Pattern{other}, named, home); err == nil {
		t.Error("the TCP address beneath has been written, and is taken for the other one")
	}
}
