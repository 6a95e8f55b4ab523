package transport

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

func TestNetworksWithoutWhatMustBeWritten(t *testing.T) {
	for text, test := range map[string]struct{ yes, no string }{
		"0.0.0.0/0:1-9": {
			"10.0.0.1:1 192.168.0.1:1 8.8.8.8:1 100.100.100.201:1",
			"0.0.0.0:1 0.1.2.3:1 127.0.0.1:1 127.255.255.255:1 169.254.1.1:1 169.254.169.254:1 " +
				"224.0.0.1:1 239.1.2.3:1 255.255.255.255:1 100.100.100.200:1 168.63.129.16:1 " +
				"192.0.0.192:1 [::ffff:127.0.0.1]:1 [::ffff:169.254.169.254]:1",
		},
		"[::]/0:1-9": {
			"[2001:db8::1]:1 [fd00::1]:1 [64:ff9b::808:808]:1",
			"[::]:1 [::1]:1 [fe80::1]:1 [ff02::1]:1 [fd00:ec2::254]:1 [fd20:ce::254]:1 " +
				"[::7f00:1]:1 [64:ff9b::7f00:1]:1 [64:ff9b::a9fe:a9fe]:1 [2002:7f00:1::1]:1 10.0.0.1:1",
		},
		"[::ffff:0:0]/96:1":        {"10.0.0.1:1", "127.0.0.1:1 169.254.169.254:1 [::1]:1"},
		"[::ffff:127.0.0.0]/104:1": {"127.0.0.1:1", "10.0.0.1:1"},
		"100.64.0.0/10:1":          {"100.100.100.199:1", "100.100.100.200:1"},
		"126.0.0.0/7:1":            {"126.0.0.1:1", "127.0.0.1:1"},
		"127.0.0.0/8:1":            {"127.0.0.1:1 127.9.9.9:1", ""},
		"127.0.0.1:1":              {"127.0.0.1:1 [::ffff:127.0.0.1]:1", "127.0.0.2:1"},
		"169.254.0.0/16:1":         {"169.254.1.1:1", "169.254.169.254:1 169.254.170.2:1"},
		"169.254.169.254:1":        {"169.254.169.254:1", "169.254.169.253:1"},
		"fd00::/8:1":               {"[fd00::1]:1", "[fd00:ec2::254]:1"},
		"[fd00:ec2::254]:1":        {"[fd00:ec2::254]:1", ""},
		"[::1]:1":                  {"[::1]:1", "[::]:1 127.0.0.1:1"},
		"[fe80::]/10:1":            {"[fe80::1]:1", "[::1]:1"},
		"224.0.0.0/4:1":            {"224.0.0.1:1", "127.0.0.1:1"},
	} {
		matches(t, text, test.yes, test.no)
	}
}

// A network is without the addresses that this machine has, and one that is written is meant.
func TestNetworksWithoutThisMachine(t *testing.T) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	leadsHome := func(pattern string, ip netip.Addr) bool {
		t.Helper()
		p, err := ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return p.LeadsHome(ipAddress(ip, 1))
	}
	for _, address := range all {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil {
			continue
		}
		ip, everything, whole := plain(prefix.Addr()), "0.0.0.0/0:1", "/32"
		if ip.Is6() {
			everything, whole = "[::]/0:1", "/128"
		}
		written := MustBeWritten(ip, "") // in networks that lie within loopback and its like
		if got := leadsHome(everything, ip); got == written {
			t.Errorf("%v in %s leads home: %v", ip, everything, got)
		}
		for _, one := range []string{"[" + ip.String() + "]:1", "[" + ip.String() + "]" + whole + ":1"} {
			if leadsHome(one, ip) {
				t.Errorf("%s is not meant", one)
			}
		}
	}
	for text, ip := range map[string]string{
		"127.0.0.0/8:1": "127.0.0.1", "[::]/127:1": "::1", "192.0.2.0/24:1": "192.0.2.254",
		"[2001:db8::]/32:1": "2001:db8::1234", "224.0.0.0/4:1": "224.0.0.1",
	} {
		if leadsHome(text, netip.MustParseAddr(ip)) {
			t.Errorf("%s in %s leads home", ip, text)
		}
	}
	if name, err := ParsePattern("host:1"); err != nil ||
		name.LeadsHome(wire.Address{Kind: wire.DNS, Name: "host", Port: 1}) {
		t.Errorf("a name leads home: %v", err)
	}
}

func TestWhereANameReaches(t *testing.T) {
	var written []Pattern
	for _, text := range []string{"inside:1-9", "10.0.0.0/8:1-9", "127.0.0.2:5", "0.0.0.0/0:1-9"} {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, p)
	}
	for _, test := range []struct {
		name, ip string
		port     uint16
		want     error
	}{
		{"inside", "10.0.0.1", 1, nil},
		{"inside", "192.0.2.1", 1, nil}, // where a name leads is for whoever keeps it to say,
		{"inside", "2001:db8::1", 1, nil},
		{"inside", "127.0.0.1", 5, ErrWithheld}, // but not there
		{"inside", "127.0.0.2", 5, nil},         // unless that is written as well
		{"inside", "127.0.0.2", 6, ErrWithheld},
		{"inside", "::1", 5, ErrWithheld},
		{"inside", "::ffff:127.0.0.1", 5, ErrWithheld},
		{"inside", "0.0.0.0", 5, ErrWithheld},
		{"inside", "fe80::1%eth0", 5, ErrWithheld},
		{"inside", "169.254.169.254", 5, ErrWithheld},
		{"localhost", "127.0.0.1", 1, nil},
		{"db.LocalHost", "::1", 1, nil},
		{"localhost", "169.254.169.254", 1, ErrWithheld},
		{"localhost", "10.0.0.1", 1, nil},
		{"notlocalhost", "127.0.0.1", 1, ErrWithheld},
	} {
		a := wire.Address{Kind: wire.DNS, Name: test.name, Port: test.port}
		if err := Reaches(written, a, netip.MustParseAddr(test.ip)); err != test.want {
			t.Errorf("%s at %s, port %d: got %v, want %v",
				test.name, test.ip, test.port, err, test.want)
		}
	}
}

// TestDialerAsksWhereANameLeads has the question asked with the address that is connected to, and
// nothing connected to if the answer is no.
func TestDialerAsksWhereANameLeads(t *testing.T) {
	l := testkit.Listen(t)
	at := l.Addr().(*net.TCPAddr).AddrPort()
	var asked []netip.Addr
	refuse := false
	set := NewSet(Config{
		ConnectTimeout: time.Minute,
		Reach: func(a Address, ip netip.Addr) error {
			asked = append(asked, ip)
			if refuse || !ip.Unmap().Is4() { // the listener is at 127.0.0.1
				return ErrWithheld
			}
			return nil
		},
	})
	defer set.Close()
	named := wire.Address{Kind: wire.DNS, Name: "localhost", Port: at.Port()}
	link, err := set.Dial(testkit.Context(t), named)
	if err != nil || len(asked) == 0 {
		t.Fatalf("got %v, asked about %v", err, asked)
	}
	_ = link.Close()
	refuse = true
	if _, err = set.Dial(testkit.Context(t), named); !errors.Is(err, ErrWithheld) {
		t.Errorf("got %v", err)
	}
	before := len(asked)
	link, err = set.Dial(testkit.Context(t), FromAddrPort(at)) // an address was compared already
	if err != nil || len(asked) != before {
		t.Fatalf("got %v, asked about %v", err, asked[before:])
	}
	_ = link.Close()
}
