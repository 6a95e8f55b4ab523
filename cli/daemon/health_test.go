package daemon

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route/transport"
)

// A site is not well while one of its targets is not, and is again when that is not asked any more.
func TestHealth(t *testing.T) {
	var h health
	sick, changed := h.of("db").IsSick()
	if sick {
		t.Error("it is not well before anything is asked")
	}
	up := testkit.Listen(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := up.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	stopUp := followed(t, &h, up.Addr().String())
	stopDown := followed(t, &h, "127.0.0.1:0")
	testkit.Within(t, changed, "word of the second")
	if sick, changed = h.of("db").IsSick(); !sick {
		t.Error("it is well")
	}
	stopDown()
	testkit.Within(t, changed, "word of its end")
	if sick, _ = h.of("db").IsSick(); sick {
		t.Error("it is not well")
	}
	stopUp()
	_ = up.Close()
	testkit.Within(t, ended, "the target")
}

// What is reached by a name of its own makes nobody else unwell.
func TestHealthOfNames(t *testing.T) {
	var h health
	c := new(portal.Check)
	h.set(c, "db", true)
	for name, want := range map[string]bool{"db": true, "web": false, "": false} {
		if sick, _ := h.of(name).IsSick(); sick != want {
			t.Errorf("%q: sick %v, want %v", name, sick, want)
		}
	}
	_, changed := h.of("web").IsSick()
	h.set(c, "db", false)
	testkit.Within(t, changed, "word of a change")
	if sick, _ := h.of("db").IsSick(); sick {
		t.Error("db is not well")
	}
}

// followed checks a target until stop is called.
func followed(t *testing.T, h *health, target string) (stop func()) {
	t.Helper()
	a, err := transport.ParseTarget(target, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := portal.ParseCheck("tcp", a)
	if err != nil {
		t.Fatal(err)
	}
	c.Interval, c.Logger = time.Hour, slog.New(slog.NewTextHandler(io.Discard, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	for _, run := range []func(){func() { c.Run(ctx) }, func() { h.follow(ctx, c, "") }} {
		go func() {
			run()
			done <- struct{}{}
		}()
	}
	return func() {
		cancel()
		testkit.Within(t, done, "the check")
		testkit.Within(t, done, "who follows it")
	}
}
