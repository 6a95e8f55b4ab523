package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

func TestWanted(t *testing.T) {
	for _, a := range []Address{
		{Kind: DNS, Name: "db.example", Port: 1},
		{Kind: IP4, IP: netip.MustParseAddr("1.2.3.4"), Port: 2},
		{Kind: IP6, IP: netip.MustParseAddr("2001:db8::1"), Port: 3},
	} {
		b, err := AppendWanted(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		if got, rest, err := ParseWanted(append(b, "rest"...)); got != a || string(rest) != "rest" {
			t.Errorf("%v: got %v, %q, %v", a, got, rest, err)
		}
		if _, _, err := ParseWanted(b[:len(b)-1]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v cut short: %v", a, err)
		}
	}
	for _, a := range []Address{
		{Kind: Service, Name: "outlet"}, {Kind: TLS, Name: "a", Port: 1}, {Kind: DNS, Name: "a"},
	} {
		if _, err := AppendWanted(nil, a); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %v", a, err)
		}
	}
}

func FuzzParseWanted(f *testing.F) {
	f.Add([]byte("\x05\x04\x00\x01db\x01\x04"))
	f.Add([]byte("\x03\x06\x01\x02\x03\x04\x00\x01"))
	f.Add([]byte("\x01\x02ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, rest, err := ParseWanted(b)
		if err != nil {
			return
		}
		again, err := AppendWanted(nil, a)
		if err != nil || !bytes.Equal(append(again, rest...), b) {
			t.Errorf("%x is read as %v, which is encoded as %x, %v", b, a, again, err)
		}
	})
}
