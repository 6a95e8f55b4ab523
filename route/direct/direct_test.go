package direct

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func addresses(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func TestFrames(t *testing.T) {
	for _, f := range []Frame{
		{Kind: Addresses, Addresses: addresses("198.51.100.7:40000")},
		{Kind: Addresses, Addresses: addresses("198.51.100.7:1", "[2001:db8::1]:65535")},
		{Kind: Ask},
		{Kind: Answer},
		{Kind: Now},
	} {
		b := Append(nil, f)
		r := bytes.NewReader(append(b, 0xff))
		got, err := Read(r)
		if err != nil || got.Kind != f.Kind || len(got.Addresses) != len(f.Addresses) || r.Len() != 1 {
			t.Errorf("%v is read as %v, %v, with %d bytes left", f, got, err, r.Len())
			continue
		}
		for i, a := range f.Addresses {
			if got.Addresses[i] != a {
				t.Errorf("%v is read as %v", a, got.Addresses[i])
			}
		}
	}
}

func TestBadFrames(t *testing.T) {
	for name, b := range map[string]string{
		"kind 0":             "\x00\x00\x00",
		"kind 5":             "\x05\x00\x00",
		"too long":           "\x01\x00\xff",
		"ask with something": "\x02\x00\x01x",
		"no address":         "\x01\x00\x01\x00",
		"five addresses":     "\x01\x00\x01\x05",
		"family 5":           "\x01\x00\x08\x01\x05\x01\x02\x03\x04\x00\x01",
		"cut short":          "\x01\x00\x07\x01\x04\x01\x02\x03\x04\x00",
		"port 0":             "\x01\x00\x08\x01\x04\x01\x02\x03\x04\x00\x00",
		"more behind":        "\x01\x00\x09\x01\x04\x01\x02\x03\x04\x00\x01x",
	} {
		if f, err := Read(bytes.NewReader([]byte(b))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Append(nil, Frame{Kind: Addresses, Addresses: addresses("198.51.100.7:40000")}))
	f.Add(Append(nil, Frame{Kind: Now}))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again := Append(nil, frame)
		if !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}

func TestChoose(t *testing.T) {
	own := []netip.Prefix{
		netip.MustParsePrefix("198.51.100.9/24"), netip.MustParsePrefix("2001:db8:1::9/64"),
	}
	withheld := func(ip netip.Addr) bool { return ip == netip.MustParseAddr("168.63.129.16") }
	on := func(relay string) Side {
		return Side{
			Relay: netip.MustParseAddr(relay), Own: own, Withheld: withheld,
			Seen: netip.MustParseAddrPort("192.0.2.1:40001"),
		}
	}
	public, private, six := on("203.0.113.1"), on("10.0.0.1"), on("2001:db8::1")
	beside := on("198.51.100.1")
	for _, c := range []struct {
		side Side
		at   string
		want bool
	}{
		{public, "192.0.2.7:40000", true},
		{public, "192.0.2.7:1024", true},
		{public, "192.0.2.7:1023", false},     // a service's
		{public, "198.51.100.7:40000", false}, // of a network that it is in
		{public, "192.0.2.1:40000", false},    // its NAT's
		{beside, "198.51.100.7:40000", true},  // where the relay is as well
		{beside, "198.51.100.9:40000", false},
		{public, "198.51.100.9:40000", false}, // its own
		{public, "10.0.0.7:40000", false},
		{public, "192.168.1.7:40000", false},
		{public, "100.64.0.7:40000", false},
		{public, "127.0.0.1:40000", false},
		{public, "169.254.169.254:40000", false},
		{public, "0.0.0.0:40000", false},
		{public, "224.0.0.1:40000", false},
		{public, "255.255.255.255:40000", false},
		{public, "168.63.129.16:40000", false},
		{public, "[2001:db8::7]:40000", false}, // another family
		{private, "10.0.0.7:40000", true},
		{private, "192.0.2.7:40000", true},
		{private, "127.0.0.1:40000", false},
		{six, "[2001:db8::7]:40000", true},
		{six, "[2001:db8:1::7]:40000", false}, // of a network that it is in
		{six, "[64:ff9b::a00:1]:40000", false},
		{six, "[64:ff9b:1::a00:1]:40000", false},
		{six, "[2002:a00:1::1]:40000", false},
		{six, "[2001:0:a00:1::1]:40000", false},
		{six, "[fd00::7]:40000", false},
		{six, "[fe80::7]:40000", false},
		{six, "[::1]:40000", false},
		{six, "198.51.100.7:40000", false},
	} {
		to, err := c.side.Choose(addresses(c.at))
		if (err == nil) != c.want || (len(to) == 1) != c.want {
			t.Errorf("with a relay at %v, %s: %v, %v", c.side.Relay, c.at, to, err)
		}
	}
	many := addresses("192.0.2.7:2001", "192.0.2.7:2001", "192.0.2.7:2002", "192.0.2.7:2003")
	if to, err := public.Choose(many); err != nil || len(to) != 2 || to[1] != many[2] {
		t.Errorf("of many, these are connected to: %v, %v", to, err)
	}
	public.Seen = netip.MustParseAddrPort("10.0.0.7:40000")
	if err := public.CheckSeen(); !errors.Is(err, ErrSeenUnfit) {
		t.Errorf("a private address is told to others: %v", err)
	}
}

func TestPause(t *testing.T) {
	var p Pause
	now := time.Unix(1000, 0)
	if wait := p.Wait(now); wait > 0 {
		t.Errorf("the first attempt waits for %v", wait)
	}
	for _, want := range []time.Duration{
		time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute,
		32 * time.Minute, time.Hour, time.Hour,
	} {
		p.Failed(now, 0)
		if wait := p.Wait(now); wait < want*3/4 || wait > want*5/4 {
			t.Errorf("waits for %v, not about %v", wait, want)
		}
	}
	p.Failed(now, 2*time.Minute) // a connection that has lasted
	if wait := p.Wait(now); wait < 45*time.Second || wait > 75*time.Second {
		t.Errorf("after one that has lasted: waits for %v", wait)
	}
	p.Reset()
	if wait := p.Wait(now); wait > 0 {
		t.Errorf("on another network: waits for %v", wait)
	}
}

func TestTurns(t *testing.T) {
	var turns Turns[int]
	now := time.Unix(1000, 0)
	count := func(who int) (n int) {
		for turns.Begin(who, now) {
			turns.End()
			n++
		}
		return n
	}
	if n := count(1); n != 6 {
		t.Errorf("one far end has %d turns at once", n)
	}
	now = now.Add(20 * time.Second)
	if n := count(1); n != 2 {
		t.Errorf("one far end has %d turns after 20 s", n)
	}
	for i := range 20 {
		turns.Begin(10+i, now)
	}
	if turns.now != turnsAtOnce {
		t.Errorf("%d take part at once", turns.now)
	}
}
