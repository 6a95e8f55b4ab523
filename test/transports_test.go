//go:build unix

package test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/webtest"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// certified writes a certificate for this machine, and returns the flags to show it with, and the
// one to believe it.
func (u person) certified() (show, believe []string) {
	u.t.Helper()
	certText, keyText, err := webtest.SelfSigned()
	if err != nil {
		u.t.Fatal(err)
	}
	cert, keyFile := u.file("tls-cert.pem", string(certText)), u.file("tls-key.pem", string(keyText))
	return []string{"--tls-cert", cert, "--tls-key", keyFile}, []string{"--tls-ca", cert}
}

// wrapped are the transports that this machine has, as listeners that take a free port, or a queue
// at a broker: see atBroker. TestBluetooth has the one that it lacks.
var wrapped = map[string]string{
	"tcp": anywhere,
	"tls": "tls://127.0.0.1:0", "ws": "ws://127.0.0.1:0/sp", "wss": "wss://127.0.0.1:0/sp",
	"quic": "quic://127.0.0.1:0", "nats": "nats://BROKER/sp.test",
	"kafka": "kafka://BROKER/sp.test",
}

// kafkaTurn is of who has Kafka's brokers beside all other transports: with several of them on a
// small machine, what lies in a broker is there for longer than a session waits.
var kafkaTurn sync.Mutex

// wrappedPlaces are where such a link may be in a route. Each function builds one with a transport,
// and returns the route to its outlet's node.
var wrappedPlaces = []struct {
	name  string
	short []string // transports for which it runs without SP_FULL
	build func(u person, listen string, show, believe []string, target string) (node string)
}{
	// inlet ═ outlet
	{"direct", []string{"tls", "ws", "wss", "quic", "nats", "kafka"}, func(
		u person, listen string, show, _ []string, target string,
	) string {
		return nodeOf(u, u.outletAt(listen, target, show...))
	}},
	// inlet ═ relay ◀═ outlet
	{"relay", []string{"wss"}, func(
		u person, listen string, show, believe []string, target string,
	) string {
		at := u.start(append([]string{"relay", "--listen", listen}, show...)...).ready()
		u.startNamed(at, "db", target, believe...)
		return nodeOf(u, "db@"+at)
	}},
	// inlet ═ bridge ── outlet
	{"into a bridge", []string{"ws", "nats"}, func(
		u person, listen string, show, _ []string, target string,
	) string {
		_, outlet := u.startOutlet(target)
		bridge := u.start(append([]string{"bridge", "--next", outlet, "--listen", listen}, show...)...)
		return nodeOf(u, bridge.ready()) + toChannel + step(outlet)
	}},
	// inlet ── bridge ═ outlet
	{"out of a bridge", []string{"tls", "wss", "quic", "nats", "kafka"}, func(
		u person, listen string, show, believe []string, target string,
	) string {
		outlet := nodeOf(u, u.outletAt(listen, target, show...))
		at, _, err := transport.ParseStep(strings.Split(outlet, "/")[1:])
		if err != nil {
			u.t.Fatal(err)
		}
		_, bridge := u.startBridge(transport.Format(at), believe...)
		return step(bridge) + toChannel + outlet
	}},
}

// outletAt starts an outlet that listens somewhere, and returns the route to it.
func (u person) outletAt(listen, target string, more ...string) string {
	u.t.Helper()
	p := u.start(append([]string{"outlet", "--listen", listen, "--target", target}, more...)...)
	return wordBehind(u.t, p.ready(), "--to")
}

// nodeOf is a route without the channel to an outlet that it ends with.
func nodeOf(u person, to string) string {
	u.t.Helper()
	r, err := route.Parse(to)
	if err != nil {
		u.t.Fatal(err)
	}
	return strings.TrimSuffix(route.Format(r), toOutlet)
}

// TestTransports has links of all kinds do the same, wherever they are in a route, and half-closed
// connections stay open beside them. With SP_FULL=1 it is all of them everywhere, with 100 MiB, and
// a minute.
func TestTransports(t *testing.T) {
	t.Parallel()
	for name, listen := range wrapped {
		for _, place := range wrappedPlaces {
			if !testenv.Full() && !strings.Contains(strings.Join(place.short, " ")+" ", name+" ") {
				continue
			}
			t.Run(name+", "+place.name, func(t *testing.T) {
				t.Parallel()
				if name == "kafka" {
					kafkaTurn.Lock()
					t.Cleanup(kafkaTurn.Unlock)
				}
				u := newPerson(t)
				show, believe := u.certified()
				if name != "tls" && name != "wss" {
					show, believe = nil, nil
				}
				m := newMirror(t, bothWays()/2)
				node := place.build(u, atBroker(t, listen), show, believe, m.address)
				carries(u, m, node, believe)
			})
		}
	}
}

// carries tries all that may happen to a connection on the way to an outlet's node.
func carries(u person, m *mirror, node string, flags []string) {
	t := u.t.(*testing.T)
	inlet := u.inletTo(node+toOutlet, flags...)
	stalled := dial(t, inlet)
	send(t, stalled, string(askStall))
	fill(t, stalled)
	m.transfers(t, inlet)
	var halfClosed sync.WaitGroup // beside all that follows
	defer halfClosed.Wait()
	for _, half := range []func(conn) error{m.late, m.lateAfterEnd} {
		c := dial(t, inlet)
		_ = c.SetDeadline(time.Now().Add(halfClosedFor() + patience))
		halfClosed.Go(func() {
			if err := half(c); err != nil {
				t.Error(err)
			}
		})
	}

	c := dial(t, inlet)
	send(t, c, string(askReset))
	receivesReset(t, c)

	manyAreEchoed(t, inlet, testenv.OfRun(4, 20, 200))

	with := func(to string) []string { return append(sendTo(to), flags...) }
	u.fails(unreachable, "no service named nothing", with(node+toChannel+"/service/nothing")...)
	if got := u.must(with(node + toAgain + toUppercase)...); got != "HELLO" {
		t.Errorf("in a nested channel: %q", got)
	}
}

// TestCertificateIsReplaced has a role show another certificate as soon as its files have one, and
// an inlet refuse a far end that others have certified.
func TestCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	show, believe := u.certified()
	p := u.start(append([]string{"outlet", "--listen", "wss://127.0.0.1:0/sp", "--target", anywhere},
		show...)...)
	node := nodeOf(u, wordBehind(t, p.ready(), "--to"))
	says := func(more ...string) []string { return append(hello(node), more...) }
	if got := u.must(says(believe...)...); got != "HELLO" {
		t.Errorf("it says %q", got)
	}
	old := u.file("old.pem", string(must(t, u.program("cat", believe[1]))))
	u.certified()
	p.says("new TLS certificate")
	u.fails(unreachable, "sp test", says("--tls-ca", old)...)
	if r := u.run(says()...); r.stdout != "HELLO\n" || !strings.Contains(r.stderr, "sp test") {
		t.Errorf("with a certificate that nobody has to believe: %+v", r)
	}
}
