package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
)

func TestOriginBytes(t *testing.T) {
	for want, c := range map[string]Origin{
		"0104" + "c0000201" + "d431" + "7f000001" + "1538": {
			netip.MustParseAddrPort("192.0.2.1:54321"), netip.MustParseAddrPort("127.0.0.1:5432"),
		},
		"0106" + "20010db8000000000000000000000001" + "0001" +
			"00000000000000000000000000000001" + "ffff": {
			netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[::1]:65535"),
		},
	} {
		b, err := AppendOrigin(nil, c)
		if err != nil || hex.EncodeToString(b) != want {
			t.Errorf("%+v is encoded as %x, %v; want %s", c, b, err, want)
		}
		if got, err := ParseOrigin(b); err != nil || got != c {
			t.Errorf("%x is read as %+v, %v", b, got, err)
		}
		for n := range b {
			if _, err := ParseOrigin(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("cut after %d bytes: %v", n, err)
			}
		}
		if _, err := ParseOrigin(append(b, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("with a byte more: %v", err)
		}
	}
	mapped, err := AppendOrigin(nil, Origin{
		netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"), netip.MustParseAddrPort("192.0.2.2:2"),
	})
	if err != nil || len(mapped) != 14 {
		t.Errorf("%x, %v", mapped, err)
	}
	for _, c := range []Origin{
		{},
		{From: netip.MustParseAddrPort("1.2.3.4:5")},
		{netip.MustParseAddrPort("1.2.3.4:5"), netip.MustParseAddrPort("[::1]:5")},
	} {
		if _, err := AppendOrigin(nil, c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{
		"0104c0000201d4317f0000011538",
		"010620010db8000000000000000000000001000100000000000000000000000000000001ffff",
		"0106", "",
	} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseOrigin(b)
		if err != nil {
			return
		}
		again, err := AppendOrigin(nil, c)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read as %+v, which is encoded as %x, %v", b, c, again, err)
		}
	})
}
