package netio

import (
	"io"
	"net"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// copiers returns how many goroutines there are that copy, or wait for something to copy.
func copiers(t *testing.T) int {
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(all.String(), "netio.copyTo(")
}

// standingBy is a Proxy between two sockets that has copied something both ways, and has no
// goroutine any more.
func standingBy(t *testing.T, network string) *joined {
	t.Helper()
	left, a := socketPair(t, network)
	right, b := socketPair(t, network)
	done := make(chan error, 1)
	p := &Proxy{A: a, B: b}
	p.Start(func(err error) { done <- err })
	j := &joined{left: left, a: a, right: right, b: b, done: done}
	j.exchange(t)
	testkit.Eventually(t, "being parked", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.there == wayParked && p.back == wayParked && p.standby.timer == nil
	})
	testkit.Eventually(t, "no goroutine", func() bool { return copiers(t) == 0 })
	return j
}

func (j *joined) exchange(t *testing.T) {
	t.Helper()
	testkit.Write(t, j.left, "hello")
	testkit.Expect(t, j.right, "hello")
	testkit.Write(t, j.right, "good day")
	testkit.Expect(t, j.left, "good day")
}

// A Proxy through which nothing goes has no goroutine, and whatever happens next is as if it had.
func TestStandby(t *testing.T) {
	for what, check := range map[string]func(t *testing.T, j *joined){
		"data": func(t *testing.T, j *joined) {
			j.exchange(t)
			_ = j.left.CloseWrite()
			testkit.ExpectEnd(t, j.right)
			testkit.Write(t, j.right, "the rest")
			_ = j.right.CloseWrite()
			receive(t, j.left, []byte("the rest"))
			if err := testkit.Within(t, j.done, "the end"); err != nil {
				t.Error(err)
			}
		},
		"end": func(t *testing.T, j *joined) {
			_ = j.right.CloseWrite()
			testkit.ExpectEnd(t, j.left)
			testkit.Write(t, j.left, "still")
			testkit.Expect(t, j.right, "still")
			_ = j.left.CloseWrite()
			testkit.ExpectEnd(t, j.right)
			if err := testkit.Within(t, j.done, "the end"); err != nil {
				t.Error(err)
			}
		},
		"own close": func(t *testing.T, j *joined) {
			_ = j.b.Close()
			if err := testkit.Within(t, j.done, "the end"); err == nil {
				t.Error("no error")
			}
			_, _ = io.ReadAll(j.left)
		},
	} {
		for _, network := range networks {
			t.Run(what+" "+network, func(t *testing.T) { check(t, standingBy(t, network)) })
		}
	}
}

// A reset passes through a Proxy that has no goroutine, and so does its being failed.
func TestStandbyReset(t *testing.T) {
	j := standingBy(t, "tcp")
	_ = Reset(j.right)
	if _, err := io.ReadAll(j.left); !IsReset(err) {
		t.Errorf("%v instead of a reset", err)
	}
	if err := testkit.Within(t, j.done, "the end"); !IsReset(err) {
		t.Errorf("it ended with %v", err)
	}
}

func TestStandbyFail(t *testing.T) {
	left, a := socketPair(t, "tcp")
	right, b := socketPair(t, "tcp")
	done := make(chan error, 1)
	p := &Proxy{A: a, B: b}
	p.Start(func(err error) { done <- err })
	testkit.Eventually(t, "being parked", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.there == wayParked && p.back == wayParked
	})
	p.Fail(syscall.EIO)
	if err := testkit.Within(t, done, "the end"); err != syscall.EIO {
		t.Errorf("it ended with %v", err)
	}
	for _, c := range []net.Conn{left, right} {
		if _, err := io.ReadAll(c); !IsReset(err) {
			t.Errorf("%v instead of a reset", err)
		}
	}
}

// What cannot be parked is looked at a few times, and copied all the same.
func TestStandbyNot(t *testing.T) {
	b, right := faultnet.Pipe()
	left, a := socketPair(t, "tcp")
	testkit.Hurry(t, right)
	done := make(chan error, 1)
	p := &Proxy{A: a, B: b}
	p.Start(func(err error) { done <- err })
	testkit.Write(t, left, "hello")
	testkit.Expect(t, right, "hello")
	testkit.Eventually(t, "nobody to look", func() bool {
		p.look()
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.there == wayParked && p.back == wayCopies &&
			p.standby.tries == standbyTries && p.standby.timer == nil
	})
	testkit.Write(t, left, "again")
	testkit.Expect(t, right, "again")
	_ = left.Close()
	_ = right.Close()
	testkit.Within(t, done, "the end")
}
