package transport

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/secureportal/sp/wire"
)

func TestHostPort(t *testing.T) {
	for _, text := range []string{
		"127.0.0.1:7000", "[::1]:1", "example.com:65535", "unix:/run/sp.sock", "unix:relative",
		"[fe80::1%eth0.7]:7000", "unix:/home/me@host/a  b", "unix:./@name",
	} {
		a, err := Parse(text)
		if err != nil || Format(a) != text || check(a) != nil {
			t.Errorf("%s: got %s, %v", text, Format(a), err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, says := range map[string]string{
		"":                   "a port is missing",
		"host":               "a port is missing",
		"host:":              "from 1 to 65535",
		"host:0":             "from 1 to 65535",
		":7000":              "host name",
		"a b:7000":           "only letters",
		"::1:7000":           "in brackets",
		"[::1:7000":          "not closed",
		"[fe80::1%l o]:7000": "not the name of an interface",
		"[fe80::1%a/b]:7000": "not the name of an interface",
		"7000":               "is 127.0.0.1:7000 meant?",
		"/run/x":             "is unix:/run/x meant?",
		"host.name":          "a port is missing: host.name:PORT",
		"unix:" + long(105):  "has at most 104 bytes",
		"http://host:7000":   "leave out http://",
		"unix://host":        "leave out unix://",
		"unix:":              "unix: stands without a path",
		"tcp:host:7000":      "in brackets",
		"unix:a\x00b":        "none of them zero",
		"a\nb:" + long(1000): "from 1 to 65535",
	} {
		a, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: got %v, %v, want %q", text, a, err, says)
		} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
			t.Errorf("%.30q: the error is not one short line: %v", text, err)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

// The ways to write the path of a socket are one.
func TestPaths(t *testing.T) {
	for _, text := range []string{"unix:/run/a", "unix:///run/a", "unix:////run/a"} {
		if a, err := Parse(text); err != nil || a.Name != "/run/a" {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
	if a, _, err := ParseStep([]string{"unix", "%2F%2Frun%2Fa"}); err != nil || a.Name != "/run/a" {
		t.Errorf("in a route: %v, %v", a, err)
	}
}

// Where to listen may have no host and no port yet, and a zone.
func TestParseListen(t *testing.T) {
	for _, test := range []struct{ text, host, want string }{
		{":0", "", ":0"},
		{":7000", "127.0.0.1", "127.0.0.1:7000"},
		{"host:0", "127.0.0.1", "host:0"},
		{"0.0.0.0:1", "", "0.0.0.0:1"},
		{"[::]:1", "", "[::]:1"},
		{"[fe80::1%lo]:1", "", "[fe80::1%lo]:1"},
		{"unix:a", "127.0.0.1", "unix:a"},
	} {
		a, err := ParseListen(test.text, test.host)
		if err != nil || Format(a) != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.text, Format(a), err, test.want)
		}
	}
	for text, says := range map[string]string{
		"nowhere":  `"nowhere" is not host:port or unix:PATH`,
		"7000":     "is :7000 meant?",
		"/run/x":   "is unix:/run/x meant?",
		":http":    "a port is a number from 0 to 65535",
		":65536":   "a port is a number from 0 to 65535",
		"unix:":    "unix: stands without a path",
		"::1:7000": "in brackets",
		"a b:7000": "only letters",
		"h://a:1":  "leave out h://",
	} {
		if a, err := ParseListen(text, ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, %v, want %q", text, a, err, says)
		}
	}
}

func TestFromAddrPort(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:7000":          "/ip4/127.0.0.1/tcp/7000",
		"[::1]:7000":              "/ip6/::1/tcp/7000",
		"[::ffff:127.0.0.1]:7000": "/ip4/127.0.0.1/tcp/7000",
		"[fe80::1%lo]:7000":       "/ip6/fe80::1/tcp/7000",
	} {
		a := FromAddrPort(netip.MustParseAddrPort(text))
		if got := FormatStep(a); got != want || a.Validate() != nil {
			t.Errorf("%s: got %s, %v", text, got, a.Validate())
		}
	}
}

// What a listener says about itself is where it can be dialed, or at least listened at.
func TestFromAddr(t *testing.T) {
	for want, addr := range map[string]net.Addr{
		"127.0.0.1:7000":     &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7000},
		"[::]:7000":          &net.TCPAddr{IP: net.IPv6unspecified, Port: 7000},
		"[fe80::1%eth0]:700": &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 700},
		"unix:/run/sp.sock":  &net.UnixAddr{Net: "unix", Name: "/run/sp.sock"},
		"":                   nil,
		"- no TCP":           &net.TCPAddr{},
		"- no path":          &net.UnixAddr{Net: "unix"},
		"- UDP":              &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7000},
	} {
		a, ok := FromAddr(addr)
		if none := want == "" || want[0] == '-'; ok == none || ok && Format(a) != want {
			t.Errorf("%v: got %s, %v, want %s", addr, Format(a), ok, want)
		}
	}
}

// The long form of an address, and what is behind it, stand between slashes.
func TestSteps(t *testing.T) {
	for _, a := range []Address{
		{Kind: wire.IP4, IP: netip.MustParseAddr("10.0.0.2"), Port: 1},
		{Kind: wire.IP6, IP: netip.MustParseAddr("2001:db8::1"), Port: 2},
		{Kind: wire.IP6, IP: netip.MustParseAddr("fe80::1%br-lan.1_2"), Port: 2},
		{Kind: wire.DNS, Name: "relay.example.com", Port: 65535},
		{Kind: wire.Unix, Name: "/run/sp 100%/s"},
		{Kind: wire.Unix, Name: "/home/me@host/#1  2"},
		{Kind: wire.Local, Name: "test-echo:/a:b"},
	} {
		step := FormatStep(a)
		words := strings.Split(step[1:]+"/service/outlet", "/")
		got, took, err := ParseStep(words)
		if err != nil || got != a || took != strings.Count(step, "/") {
			t.Errorf("%s: got %v of %d words, %v", step, got, took, err)
		}
	}
	for text, says := range map[string]string{
		"service/outlet":         "",
		"udp/1":                  "",
		"tcp/1":                  "",
		"ip4/10.0.0.1":           "is not followed by /tcp/PORT",
		"ip4/10.0.0.1/udp/1":     "/udp/PORT/quic-v1",
		"ip4/10.0.0.1/sctp/1":    "is not followed by /tcp/PORT",
		"ip4/::1/tcp/1":          "is not what /ip4 stands before",
		"dnsaddr/::1/tcp/1":      "is not what /dnsaddr stands before: is /ip6/::1/tcp/1 meant?",
		"dnsaddr/10.0.0.1/tcp/1": "is /ip4/10.0.0.1/tcp/1 meant?",
		"ip4/host/tcp/1":         "is /dnsaddr/host/tcp/1 meant?",
		"ip6/fe80::1%l o/tcp/1":  "not the name of an interface",
		"dnsaddr/a/tcp/0":        "from 1 to 65535",
		"unix/%zz":               "invalid URL escape",
		"test-echo/" + long(300): "has more than",
	} {
		_, took, err := ParseStep(strings.Split(text, "/"))
		if says == "" && (took != 0 || err != nil) {
			t.Errorf("%s: %d words are an address, %v", text, took, err)
		} else if says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: got %v, want %q", text, err, says)
		}
	}
	if step := FormatStep(Address{Kind: wire.Service, Name: "x"}); step != "" {
		t.Errorf("a service is the address %s", step)
	}
}

// FuzzFormat goes the other way: what is printed of any address that could be used is read as that
// address, in both forms.
func FuzzFormat(f *testing.F) {
	f.Add("a@b  c/d", "eth0", []byte(net.ParseIP("fe80::1")), uint16(7000), uint8(0))
	f.Add("@a b", "", []byte{127, 0, 0, 1}, uint16(1), uint8(1))
	f.Add("host.name", "", []byte{}, uint16(0), uint8(2))
	f.Fuzz(func(t *testing.T, name, zone string, ip []byte, port uint16, kind uint8) {
		addr, _ := netip.AddrFromSlice(ip)
		a := ipAddress(addr.WithZone(zone), port)
		switch kind % 3 {
		case 1:
			a, _ = unixAddress(name)
		case 2:
			a = Address{Kind: wire.DNS, Name: name, Port: port}
		}
		_, isIP := netip.ParseAddr(name)
		noName := a.Kind == wire.Unix && (name == "@" || name != "" && name[0] == 0)
		if check(a) != nil || a.Kind == wire.DNS && isIP == nil || noName {
			return
		}
		if again, err := ParseListen(Format(a), ""); err != nil || again != a {
			t.Errorf("%v to listen at is %q, which is %v, %v", a, Format(a), again, err)
		}
		if a.Port == 0 && a.Kind != wire.Unix {
			return
		}
		if again, err := Parse(Format(a)); err != nil || again != a {
			t.Errorf("%v is %q, which is %v, %v", a, Format(a), again, err)
		}
		words := strings.Split(FormatStep(a)[1:], "/")
		if again, took, err := ParseStep(words); err != nil || again != a || took != len(words) {
			t.Errorf("%v is %q, which is %v, %v", a, FormatStep(a), again, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, text := range []string{
		"", ":0", "host:7000", "[::1]:1", "unix:/a", "test-echo:x", "[::ffff:1.2.3.4]:5",
		"http://a:1", "[fe80::1%eth0]:1", "unix:/a@b/c  d#e", "unix:@a", "abstract:a/b", "7000",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := ParseListen(text, ""); err == nil {
			if again, err := ParseListen(Format(a), ""); err != nil || again != a {
				t.Errorf("%q is %v, whose text is %v, %v", text, a, again, err)
			}
		}
		a, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(Format(a)); err != nil || again != a {
			t.Errorf("%q is %v, whose short form is %v, %v", text, a, again, err)
		}
		words := strings.Split(FormatStep(a)[1:], "/")
		if again, took, err := ParseStep(words); err != nil || again != a || took != len(words) {
			t.Errorf("%q is %v, whose long form is %v, %v", text, a, again, err)
		}
	})
}

// What nobody can connect to is known before anybody tries.
func TestImpossible(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "host:1": false, "unix:a": false,
		"[fe80::1%eth0]:1": false, "169.254.0.1:1": false,
		"[fe80::1]:1": true, "224.0.0.1:1": true, "[ff02::1]:1": true, "255.255.255.255:1": true,
	} {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Impossible(a); (got != nil) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
