//go:build unix

package test

import (
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/brokertest/kafka"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// atBroker returns where to listen, at a broker that it has started if it is a queue.
func atBroker(t testing.TB, listen string) string {
	t.Helper()
	start := brokerStarters[strings.SplitN(listen, ":", 2)[0]]
	if start == nil {
		return listen
	}
	return strings.Replace(listen, "BROKER", start(t), 1)
}

// brokerStarters start a broker each, by the scheme of its queues, and return where it is.
var brokerStarters = map[string]func(testing.TB) string{
	"nats": func(t testing.TB) string { return brokertest.NATS(t, "").Address },
	"kafka": func(t testing.TB) string {
		return kafka.Start(t, kafka.Config{Topic: "sp.test", Partitions: 3}).Address
	},
}

// TestSurvivesBroker kills one server of a cluster after the other under connections that say
// something all the time, and starts it again: both ends have two servers each, of which one is the
// same. None is dropped, no byte is wrong, and each ends as it should.
func TestSurvivesBroker(t *testing.T) {
	alone(t)
	rounds, connections := testenv.OfFull(1, 10), testenv.OfRun(5, 10, 100)
	servers := brokertest.NATSCluster(t, 3, "")
	at := func(i int) string { return "nats://" + servers[i].Address + "/sp.lasting" }
	me := survivor(t)
	me.outletAt(at(0), steadyService(t), "--listen", at(1))
	c := newChorus(t, connections, steadyPace(connections), me.inletTo(at(1), "--to", at(2)))
	for range rounds {
		for _, server := range servers {
			server.Kill()
			c.goesOn()
			server.Start()
			c.goesOn()
		}
	}
	c.ends()
}

// TestSurvivesOnlyBroker kills the only server under connections, and starts it again.
func TestSurvivesOnlyBroker(t *testing.T) {
	alone(t)
	rounds, connections := testenv.OfRun(1, 2, 20), testenv.OfRun(5, 10, 100)
	server := brokertest.NATS(t, "")
	at := "nats://" + server.Address + "/sp.lasting"
	me := survivor(t)
	me.outletAt(at, steadyService(t))
	c := newChorus(t, connections, steadyPace(connections), me.inletTo(at))
	for range rounds {
		server.Kill()
		server.Start()
		c.goesOn()
	}
	c.ends()
}

// TestBrokerThatRefuses has a node say what keeps it from a queue, and what to do, at once.
func TestBrokerThatRefuses(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	server := brokertest.NATS(t, `authorization { user: sp, password: hunter2 }`)
	at := "nats://" + server.Address + "/sp.closed"
	u.fails(1, "the file of brokers", "outlet", "--listen", at, "--target", anywhere)
	logins := u.file("brokers", "127.0.0.1 user sp\n127.0.0.1 password hunter2\n")
	to := u.outletAt(at, anywhere, "--brokers", logins)
	u.fails(unreachable, "the file of brokers", hello(nodeOf(u, to))...)
	if strings.Contains(to, "hunter2") {
		t.Errorf("a password is in %q", to)
	}
	u.fails(unreachable, "nobody listens at the queue", append(
		hello("/nats/"+strings.Replace(server.Address, ":", "/", 1)+"/sp.nobody"),
		"--brokers", logins)...)
}

// TestStrangerAtQueue has a stranger listen at a queue before anybody else does: he answers, proves
// nothing, and is not asked any more when who is meant is there.
func TestStrangerAtQueue(t *testing.T) {
	t.Parallel()
	for name, listen := range map[string]string{"nats": wrapped["nats"], "kafka": wrapped["kafka"]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := atBroker(t, listen)
			newPerson(t).outletAt(at, service(t, echo))
			me := newPerson(t)
			p := me.start("inlet", "--listen", anywhere, "--to", at)
			testkit.Eventually(t, "the stranger has answered", func() bool {
				return strings.Contains(p.stderr.String(), "trust")
			})
			me.outletAt(at, service(t, echo))
			inlet := p.ready()
			for range 5 {
				if err := echoes(dial(t, inlet), "it is"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
