package transport

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/netio"
)

func hasIPv6(t *testing.T) bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Log("there is no IPv6 here")
		return false
	}
	_ = l.Close()
	return true
}

// at returns a loopback address with the port of l.
func at(t *testing.T, ip string, l net.Listener) string {
	port := l.Addr().(*net.TCPAddr).Port
	return netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)).String()
}

func reaches(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// What is asked for is what there is, and what is said: both loopbacks for localhost, one family
// for an address of it, and everything for no host.
func TestListenFamilies(t *testing.T) {
	const tries = 4 // another program may have the port in the other family
	six := hasIPv6(t)
	for _, test := range []struct {
		listen, host, says string
		four, six          bool
	}{
		{":0", Localhost, "localhost", true, true},
		{"localhost:0", "", "localhost", true, true},
		{"LocalHost:0", "", "localhost", true, true},
		{"127.0.0.1:0", "", "127.0.0.1", true, false},
		{"[::1]:0", "", "[::1]", false, true},
		{"0.0.0.0:0", "", "0.0.0.0", true, false},
		{"[::]:0", "", "[::]", true, true},
		{":0", "", "[::]", true, true},
	} {
		if !six && !test.four {
			continue
		}
		a, err := ParseListen(test.listen, test.host)
		if err != nil {
			t.Fatal(err)
		}
		set := NewSet(Config{})
		defer set.Close()
		for kind, listen := range map[string]func() (net.Listener, error){
			"links":        func() (net.Listener, error) { return set.Listen(t.Context(), a) },
			"applications": func() (net.Listener, error) { return ListenGuarded(t.Context(), a, Config{}) },
		} {
			for left := tries; ; left-- {
				l, err := listen()
				if err != nil {
					t.Fatalf("%s: %v", test.listen, err)
				}
				if says, ok := ListensAt(l); six && (!ok || Format(says) != test.says+portOf(l)) {
					t.Errorf("%s: %s says that it listens at %s", kind, test.listen, Format(says))
				}
				four, inSix := reaches(at(t, "127.0.0.1", l)), reaches(at(t, "::1", l))
				_ = l.Close()
				if four == test.four && (!six || inSix == test.six) {
					break
				}
				if left == 0 {
					t.Errorf("%s: %s in IPv4: %v, in IPv6: %v", kind, test.listen, four, inSix)
					break
				}
			}
		}
	}
}

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return ":" + port
}

// A port that somebody else has on one of the loopbacks is taken, and a free one is free on both.
func TestLoopbackTaken(t *testing.T) {
	if !hasIPv6(t) {
		t.Skip("needs IPv6")
	}
	for _, ip := range []string{"127.0.0.1:0", "[::1]:0"} {
		other, err := net.Listen("tcp", ip)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseListen("localhost"+portOf(other), "")
		if err != nil {
			t.Fatal(err)
		}
		l, err := ListenGuarded(t.Context(), a, Config{})
		if err == nil {
			_ = l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, wsaInUse) {
			t.Errorf("%s is taken: %v", ip, err)
		}
		_ = other.Close()
	}
}

// Both loopbacks end with the listener: who waits, and who has come too late.
func TestLoopbacksClose(t *testing.T) {
	l, err := listenLoopbacks(t.Context(), netio.ListenConfig(), 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", at(t, "127.0.0.1", l)) // nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("again: %v", err)
	}
	if reaches(at(t, "127.0.0.1", l)) {
		t.Error("it still listens")
	}
}
