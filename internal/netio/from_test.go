package netio

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// Connections go out from where they are told to, or not at all.
func TestDialFrom(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems have another loopback, by other names")
	}
	l := testkit.Listen(t)
	for _, test := range []struct {
		from From
		want string // what the other end sees, or what is wrong
	}{
		{From{Addr: netip.MustParseAddr("127.0.0.7")}, "127.0.0.7"},
		{From{Interface: "lo"}, "127.0.0.1"},
		{From{Addr: netip.MustParseAddr("::1")}, "other family"},
		{From{Addr: netip.MustParseAddr("192.0.2.1")}, "cannot assign"},
		{From{Interface: "no-such0"}, "no interface no-such0"},
	} {
		c, err := DialFrom(testkit.Context(t), l.Addr().String(), testkit.Patience, nil, test.from)
		if err != nil {
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v: %v", test.from, err)
			}
			continue
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := far.RemoteAddr().String(); !strings.HasPrefix(got, test.want+":") {
			t.Errorf("%v: it comes from %s", test.from, got)
		}
		_, _ = c.Close(), far.Close()
	}
}
