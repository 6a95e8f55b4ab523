package wire

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestIsTransport(t *testing.T) {
	for kind, want := range map[Kind]bool{
		Service: false, Secure: false, IP4: true, IP6: true, DNS: true, Label: false,
		Unix: true, Local: true,
	} {
		if got := (Address{Kind: kind}).IsTransport(); got != want {
			t.Errorf("kind %d: %v", kind, got)
		}
	}
}

func TestValidate(t *testing.T) {
	ip4, ip6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, a := range []Address{
		{Kind: Service, Name: strings.Repeat("a", MaxName)},
		{Kind: Secure, Name: "A-z_0.9"},
		{Kind: IP4, IP: ip4, Port: 1},
		{Kind: IP6, IP: ip6, Port: 65535},
		{Kind: DNS, Name: strings.Repeat("a", MaxHost), Port: 1},
		{Kind: Label, Name: "\x00\xff345678"},
	} {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for _, a := range []Address{
		{},
		{Kind: IP4, IP: ip6, Port: 1},
		{Kind: IP4, Port: 1},
		{Kind: IP4, IP: ip4},
		{Kind: IP6, IP: ip4, Port: 1},
		{Kind: IP6, IP: netip.MustParseAddr("fe80::1%lo"), Port: 1},
		{Kind: DNS, Port: 1},
		{Kind: DNS, Name: "a b", Port: 1},
		{Kind: DNS, Name: strings.Repeat("a", MaxHost+1), Port: 1},
		{Kind: Label, Name: "1234567"},
		{Kind: Label, Name: "123456789"},
	} {
		if err := a.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// Bytes that no encoder makes.
func TestParseMessageErrors(t *testing.T) {
	for name, test := range map[string]struct {
		body string // behind the header
		want error
	}{
		"no routes":               {"", ErrMalformed},
		"no return route":         {"\x00", ErrMalformed},
		"too many":                {"\x11\x00", ErrTooLong},
		"no address":              {"\x01", ErrMalformed},
		"address cut":             {"\x01\x01\x02a", ErrMalformed},
		"IPv4 of 5 bytes":         {"\x01\x03\x05\x7f\x00\x00\x01\x01\x00", ErrMalformed},
		"IPv6 of 6 bytes":         {"\x01\x04\x06\x7f\x00\x00\x01\x01\x01\x00", ErrMalformed},
		"DNS of a byte":           {"\x01\x05\x01\x00\x00", ErrMalformed},
		"DNS without a name":      {"\x01\x05\x02\x00\x01\x00", ErrMalformed},
		"DNS without a port":      {"\x01\x05\x03\x00\x00a\x00", ErrMalformed},
		"unknown kind":            {"\x01\x63\x01a\x00", ErrMalformed},
		"label onward":            {"\x01\x06\x0812345678\x00", ErrMalformed},
		"service on the way back": {"\x00\x01\x01\x01a", ErrMalformed},
	} {
		b := append([]byte{Version, 0, 0, byte(len(test.body))}, test.body...)
		if _, err := ParseMessage(b); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if _, err := ParseMessage([]byte{Version, 0x80, 0, 2, 0, 0}); !errors.Is(err, ErrMalformed) {
		t.Errorf("unknown flags: %v", err)
	}
	_, err := ParseMessage([]byte{Version, 0, 0, 2, 0, 0, 0, 0}[:5])
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("cut: %v", err)
	}
	if _, err := ParseMessage([]byte{9, 0, 0, 2, 0, 0}); !errors.Is(err, ErrVersion) {
		t.Errorf("version: %v", err)
	}
}

func TestCodesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range lastCode + 1 {
		if s := c.String(); s == "" || strings.HasPrefix(s, "code ") || seen[s] {
			t.Errorf("code %d is called %q", uint8(c), s)
		}
		seen[c.String()] = true
	}
	if s := (lastCode + 1).String(); !strings.HasPrefix(s, "code ") {
		t.Errorf("an unknown code is called %q", s)
	}
}
