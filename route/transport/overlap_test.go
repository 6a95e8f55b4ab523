package transport

import "testing"

// TestOverlap has addresses at which both cannot be listened told from those at which both can.
func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		one, other string
		want       bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"127.0.0.1:1", "localhost:1", true},
		{"[::1]:1", "LocalHost:1", true},
		{"127.0.0.2:1", "localhost:1", false},
		{"127.0.0.1:1", "[::1]:1", false},
		{"127.0.0.1:1", "0.0.0.0:1", true},
		{"[::1]:1", "0.0.0.0:1", false},
		{"localhost:1", "0.0.0.0:1", true},
		{"127.0.0.1:1", "[::]:1", true},
		{"0.0.0.0:1", "[::]:1", true},
		{"127.0.0.1:1", ":1", true},
		{":1", ":1", true},
		{"host:1", "[::]:1", true},
		{"host:1", "other:1", false},
		{"host:1", "HOST:1", true},
		{"127.0.0.1:1", "tls://127.0.0.1:1", true},
		{"wss://:1/one", "ws://127.0.0.1:1/two", true},
		{"wss://127.0.0.1:1/one", "wss://127.0.0.2:1/one", false},
		{"127.0.0.1:1", "quic://127.0.0.1:1", false},
		{"quic://:1", "quic://127.0.0.1:1", true},
		{"unix:/one", "unix:/one", true},
		{"unix:/one", "unix:/two", false},
		{"fd:3", "fd:3", true},
		{"systemd:one", "systemd:two", false},
	} {
		a, err := ParseListen(c.one, "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseListen(c.other, "")
		if err != nil {
			t.Fatal(err)
		}
		if Overlap(a, b) != c.want || Overlap(b, a) != c.want {
			t.Errorf("%s and %s: %v, %v; want %v", c.one, c.other, Overlap(a, b), Overlap(b, a), c.want)
		}
	}
	a, err := ParseUDP("udp://:1", Localhost)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseUDP("udp://127.0.0.1:1", Localhost)
	if err != nil || !Overlap(a, b) {
		t.Errorf("datagrams: %v, %v", Overlap(a, b), err)
	}
}
