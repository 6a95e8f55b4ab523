package daemon

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/netwatch"
	"github.com/secureportal/sp/internal/testkit"
)

// TestDials checks who needs to know of another network.
func TestDials(t *testing.T) {
	listens, claims := config.Entrance{Listen: ":1"}, config.Entrance{Relays: []string{"relay:4000"}}
	for name, c := range map[string]struct {
		config config.Config
		want   bool
	}{
		"nothing":           {},
		"inlet":             {config.Config{Inlets: []config.Inlet{{}}}, true},
		"outlet":            {config.Config{Outlets: []config.Outlet{{Entrance: listens}}}, false},
		"outlet at a relay": {config.Config{Outlets: []config.Outlet{{Entrance: claims}}}, true},
		"relay":             {config.Config{Relays: []config.Relay{{Entrance: listens}}}, false},
		"relay at a relay":  {config.Config{Relays: []config.Relay{{Entrance: claims}}}, true},
		"bridge":            {config.Config{Bridges: []config.Bridge{{Entrance: listens}}}, false},
		"bridge at a relay": {config.Config{Bridges: []config.Bridge{{Entrance: claims}}}, true},
	} {
		if got := dials(c.config); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// TestNetworkChanged checks what is logged of another network, and that what failed before is tried
// at once, unless there is nothing to try. Who needs to know may come later.
func TestNetworkChanged(t *testing.T) {
	l := newLab(t)
	var log lines
	d, err := Start(testkit.Context(t), config.Config{Node: l.node}, Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.watching {
		t.Error("it watches for nobody")
	}
	const leastWait = 100 * time.Millisecond // before another attempt, otherwise
	waits := func(c netwatch.Change) time.Duration {
		retry := d.current().main.node.NewBackoff()
		d.networkChanged(c)
		begin := time.Now()
		if !retry.Wait(testkit.Context(t), 0, errors.New("unreachable"), nil) {
			t.Error("it gave up")
		}
		return time.Since(begin)
	}
	one := []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	if took := waits(netwatch.Change{Gone: one, Offline: true}); took < leastWait {
		t.Errorf("there is nothing to try, and it tries after %v", took)
	}
	testkit.Eventually(t, "another attempt at once", func() bool {
		return waits(netwatch.Change{Come: one}) < leastWait
	})
	for _, want := range []string{
		`msg="the network is gone" what="10.0.0.2 is gone"`,
		`msg="the network has changed" what="10.0.0.2 is new"`,
	} {
		if !log.has(want) {
			t.Errorf("the log does not say %s:\n%s", want, &log.text)
		}
	}

	next := config.Config{Node: l.node, Inlets: []config.Inlet{{
		Listen: "127.0.0.1:0", To: []string{"127.0.0.1:1"},
	}}}
	for range 2 {
		if err := d.Apply(testkit.Context(t), next); err != nil {
			t.Fatal(err)
		}
	}
	if !d.watching {
		t.Error("it does not watch for an inlet")
	}
	if d.isBusy() {
		t.Error("it is busy without a connection")
	}
}
