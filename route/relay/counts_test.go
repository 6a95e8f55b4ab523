package relay

import (
	"testing"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
)

// What is counted as it is now goes back to what it was when it is over.
func TestGauges(t *testing.T) {
	gauges := map[string]*metrics.Gauge{
		"leases": leasesNow, "parked": parkedNow,
		"registrations": registrationsNow, "standby": standbyNow,
	}
	testkit.Eventually(t, "earlier tests have ended", func() bool {
		for _, g := range gauges {
			if g.Value() != 0 {
				return false
			}
		}
		return true
	})
	w := newWorld(t)
	relay, at := w.listening(t)
	NewServer(relay, ServerConfig{})
	outlet := w.node(t)
	outlet.HandleBasics()
	stop := registered(t, &Client{Relay: route.Route{at}, Name: "x", Dial: outlet, Serve: outlet})
	to := route.Route{at, route.Forward("x"), secure(), svc(route.EchoName)}
	if got, err := ask(t, w.node(t), to, "hello"); got != "hello" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	testkit.Eventually(t, "one lease, and its standby links", func() bool {
		return leasesNow.Value() == 1 && registrationsNow.Value() == 1 &&
			parkedNow.Value() == fewStandby && standbyNow.Value() == fewStandby
	})
	stop()
	for name, g := range gauges {
		testkit.Eventually(t, name+" are none", func() bool { return g.Value() == 0 })
	}
}
