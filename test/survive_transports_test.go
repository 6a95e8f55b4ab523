//go:build unix

package test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// TestSurvivesTransports kills the relay, to which all links go over one transport, and starts it
// again, under connections that say something all the time. The short form has some transports.
func TestSurvivesTransports(t *testing.T) {
	alone(t)
	kills, connections := testenv.OfRun(1, 2, 20), testenv.OfRun(3, 5, 50)
	some := []string{"quic", "unix", "wss"}
	for _, name := range append(slices.Sorted(maps.Keys(wrapped)), "unix") {
		if !isLonger() && !slices.Contains(some, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			alone(t)
			me := survivor(t)
			listen := "unix:" + me.home + "/relay"
			if at, ok := wrapped[name]; ok {
				listen = strings.Replace(atBroker(t, at), anywhere, testkit.Address(t), 1)
			}
			show, believe := me.certified()
			if name != "tls" && name != "wss" {
				show, believe = nil, nil
			}
			relay := me.start(append([]string{"relay", "--listen", listen}, show...)...)
			at := relay.ready()
			me.startNamed(at, "db", steadyService(t), believe...)
			inlet := me.inletTo("db@"+at, believe...)
			c := newChorus(t, connections, steadyPace(connections), inlet)
			var done []time.Time
			for range kills {
				done = append(done, time.Now())
				relay.kill()
				relay = relay.again()
				c.goesOn()
			}
			c.ends()
			t.Logf("%s: relay killed %d times under %d connections: stood still for %s", name, kills,
				connections, percentiles(c.stoodStill(done)))
		})
	}
}
