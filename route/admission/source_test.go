package admission

import (
	"net/netip"
	"testing"
)

func TestFromIP(t *testing.T) {
	source := func(ip string) Source { return FromIP(netip.MustParseAddr(ip)) }
	for _, p := range [][2]string{
		{"2001:db8::1", "2001:db8::ffff:1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"fe80::1%eth0", "fe80::2%eth1"},
	} {
		if source(p[0]) != source(p[1]) {
			t.Errorf("%s and %s are two sources", p[0], p[1])
		}
	}
	for _, p := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"2001:db8::1", "2001:db8:0:1::1"}} {
		if source(p[0]) == source(p[1]) {
			t.Errorf("%s and %s are one source", p[0], p[1])
		}
	}
	if FromName("fifo:1") == FromName("fifo:2") || FromName("fifo:1") == (Source{}) {
		t.Error("names are one source")
	}
}
