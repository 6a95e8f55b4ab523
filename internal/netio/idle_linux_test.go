package netio

import (
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// TestIdle has the time since the last data grow, and begin anew with data either way.
func TestIdle(t *testing.T) {
	a, b := socketPair(t, "tcp")
	const while = 50 * time.Millisecond
	grown := func() bool {
		since, known := Idle(a)
		if !known {
			t.Fatal("not known")
		}
		return since >= while
	}
	testkit.Eventually(t, "a while", grown)
	testkit.Write(t, a, "x")
	if grown() {
		if since, _ := Idle(a); since > time.Second { // the machine may be slow
			t.Errorf("idle for %v, and data was just sent", since)
		}
	}
	testkit.Eventually(t, "another while", grown)
	testkit.Write(t, b, "y")
	testkit.Expect(t, a, "y")
	if since, _ := Idle(a); since > time.Second {
		t.Errorf("idle for %v, and data was just received", since)
	}
	local, _ := socketPair(t, "unix")
	pipe, _ := net.Pipe()
	for _, c := range []net.Conn{local, pipe} {
		if _, known := Idle(c); known {
			t.Errorf("%T is known to be idle", c)
		}
	}
}
