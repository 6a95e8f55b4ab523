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
	testkit.Eventually(t, "data was just sent", func() bool {
		testkit.Write(t, a, "x")
		return !grown() // if the machine is fast enough
	})
	testkit.Eventually(t, "another while", grown)
	testkit.Eventually(t, "data was just received", func() bool {
		testkit.Write(t, b, "y")
		testkit.Expect(t, a, "y")
		return !grown()
	})
	local, _ := socketPair(t, "unix")
	pipe, _ := net.Pipe()
	for _, c := range []net.Conn{local, pipe} {
		if _, known := Idle(c); known {
			t.Errorf("%T is known to be idle", c)
		}
	}
}
