package test

import (
	"html"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// outage is something that goes wrong, and what names the cause.
type outage struct {
	name   string
	stage  func(t *testing.T) staged
	status string // sp status, where it is felt or where it is
	doctor string // a line of sp doctor
	code   int    // its exit code
	log    string
	page   string // what is first of what is wrong

	everyday bool // it is cheap: the others are for SP_CI=1
}

// staged is an outage that is there.
type staged struct {
	sick   *process // whose log names the cause
	page   *process // who shows it to a browser; sick if nobody is named
	asks   person   // who looks at his processes
	doctor person   // who examines the route; asks if nobody is named
	args   []string // of sp doctor
}

var outages = []outage{
	{
		name: "relay down", everyday: true, stage: stageRelayDown, code: unreachable,
		status: "DOWN", doctor: "FAIL     address", log: "connect: connection refused",
		page: "is down, for",
	},
	{
		name: "name taken", stage: stageNameTaken, code: notTrusted,
		status: "NOT HELD: ", doctor: "FAIL     name         somebody else has the name db: ",
		log:  "the name db belongs to another identity",
		page: "the name db is not held at",
	},
	{
		name: "wrong identity", stage: stageWrongIdentity, code: notTrusted,
		status: "not trusted by the far end", doctor: "FAIL     identity",
		log:  "not our own identity, and no other is allowed",
		page: "not trusted by the far end",
	},
	{
		name: "expired credential", stage: stageExpired, code: notTrusted,
		status: "TROUBLE: credential file", doctor: "FAIL     credential",
		log:  "the credential has expired",
		page: "credential file",
	},
	{
		name: "DNS wrong", stage: stageWrongName, code: unreachable,
		status: "lookup nowhere.invalid", doctor: "FAIL     name", log: "lookup nowhere.invalid",
		page: "lookup nowhere.invalid",
	},
	{
		name: "target down", everyday: true, stage: stageTargetDown, code: refusedByTarget,
		status: "ready, but the last connection did not reach the target",
		doctor: "FAIL     service", log: "the target refused the connection",
		page: "did not reach the target",
	},
	{
		name: "clock off by a day", stage: stageSlowClock, code: notTrusted,
		status: "if that is slow, set it", doctor: "FAIL     credential",
		log:  "if this machine's clock is slow, set it",
		page: "if that is slow, set it",
	},
	{
		name: "disk full", stage: stageFullDisk, code: 1,
		status: "TROUBLE: the disk is full", doctor: "FAIL     disk", log: "the disk is full",
		page: "the disk is full",
	},
	{
		name: "descriptors short", stage: stageFewDescriptors, code: 1,
		status: "TROUBLE: descriptors are few", doctor: "descriptors are few",
		log:  "too many are unauthenticated",
		page: "descriptors are few",
	},
	{
		name: "path swallowed", stage: stageSwallowed, code: unreachable,
		status: "the far end does not answer", doctor: "FAIL     hop 1",
		log:  "the far end does not answer",
		page: "the far end does not answer",
	},
	{
		name: "large packets swallowed", stage: stageSwallowedLarge, code: unreachable,
		status: "DOWN", doctor: "small packets pass and large ones do not",
		log:  "the far end does not answer the handshake",
		page: "is down, for",
	},
	{
		name: "directory down", stage: stageDirectoryDown, code: unreachable,
		status: "TROUBLE: the directory nats://",
		doctor: "FAIL     hop 2        hop 1 says: the relay cannot say now where far is",
		log:    "the directory is down",
		page:   "names of other sets are not found",
	},
	{
		name: "broker down", stage: stageBrokerDown, code: unreachable,
		status: "NOT READY: nobody can come by nats://", doctor: "FAIL     broker",
		log:  "the connection to the broker has ended",
		page: "cannot be used: nobody can come by nats://",
	},
}

// refusedByTarget is the exit code that says so.
const refusedByTarget = 5

// TestOutages has each outage be named by sp status, by sp doctor, in the log, and on the page.
func TestOutages(t *testing.T) {
	t.Parallel()
	for _, o := range outages {
		if !o.everyday && !testenv.CI() && !testenv.Full() {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			s := o.stage(t)
			s.sick.says(o.log)
			asks := s.asks
			asks.t = t
			eventually(t, "sp status names the cause", func() bool {
				return strings.Contains(asks.run("status").stdout, o.status)
			})
			shows := s.sick
			if s.page != nil {
				shows = s.page
			}
			eventually(t, "the page names the cause", func() bool {
				code, page := shows.asks("/")
				_, wrong, _ := strings.Cut(page, "Wrong: ")
				wrong, _, _ = strings.Cut(wrong, "</ul>")
				return code == http.StatusOK && strings.Contains(html.UnescapeString(wrong), o.page)
			})
			if s.doctor.t != nil {
				asks = s.doctor
				asks.t = t
			}
			eventually(t, "sp doctor names the cause", func() bool {
				r := asks.run(append([]string{"doctor", "--timeout", "2s"}, s.args...)...)
				t.Logf("%v: %d\n%s%s", s.args, r.code, r.stdout, r.stderr)
				return r.code == o.code && strings.Contains(r.stdout, o.doctor)
			})
		})
	}
}

func stageRelayDown(t *testing.T) staged {
	me := newPerson(t)
	me.middle = new([]*process) // it has its address to itself, and nobody takes that
	relay, at := me.startRelay()
	me.startNamed(at, "db", service(t, echo))
	inlet := me.start(append([]string{"inlet", "--listen", anywhere, "--to", "db@" + at},
		watched...)...)
	inlet.ready()
	relay.kill()
	return staged{sick: inlet, asks: me, args: []string{"--to", "db@" + at}}
}

func stageNameTaken(t *testing.T) staged {
	me := newPerson(t)
	other := me.another()
	_, at := me.startRelay("--allow", me.identifier(), "--allow", other.identifier())
	me.startNamed(at, "db", service(t, echo))
	p := other.start(append([]string{
		"outlet", "--relay", at, "--name", "db", "--target", "127.0.0.1:1",
	}, watched...)...)
	return staged{sick: p, asks: other, args: []string{"--relay", at, "--name", "db"}}
}

func stageWrongIdentity(t *testing.T) staged {
	w := newOutlet(t)
	guest := w.another()
	guest.identifier()
	p := guest.start(append(w.inletArgs(), watched...)...)
	return staged{
		sick: w.outlet, page: p, asks: guest,
		args: []string{"--to", w.route(), "--allow", w.identifier()},
	}
}

// stageCredential starts an outlet that trusts those for whom somebody vouches, and an inlet that
// presents a credential.
func stageCredential(t *testing.T, guest func(person) person, flags ...string) staged {
	boss := newPerson(t)
	w := newTopology(t, plan{outlet: []string{"--authority", boss.identifier()}})
	who := w.another()
	file := who.file("credential", boss.vouch(who.identifier(), flags...))
	there := []string{"--to", w.route(), "--allow", w.identifier(), "--credential", file}
	who = guest(who)
	p := who.start(slices.Concat([]string{"inlet", "--listen", anywhere}, there, watched)...)
	return staged{sick: p, asks: who, args: there}
}

func stageExpired(t *testing.T) staged {
	same := func(u person) person { return u }
	return stageCredential(t, same, "--not-before", "2020-01-01T00:00:00Z",
		"--expires", "2020-01-02T00:00:00Z")
}

func stageSlowClock(t *testing.T) staged {
	return stageCredential(t, func(u person) person { return u.withClock(-24 * time.Hour) })
}

func stageWrongName(t *testing.T) staged {
	me := newPerson(t)
	me.identifier()
	const to = "db@nowhere.invalid:4000"
	p := me.start(append([]string{"inlet", "--listen", anywhere, "--to", to}, watched...)...)
	return staged{sick: p, asks: me, args: []string{"--to", to}}
}

func stageTargetDown(t *testing.T) staged {
	w := newTopology(t, plan{target: testkit.Address(t), inlets: 1, flags: watched})
	if c, err := net.Dial("tcp", w.address); err == nil { // it may be reset while it is made
		receivesReset(t, c)
		_ = c.Close()
	}
	return staged{sick: w.outlet, asks: w.person, args: []string{"--to", w.route()}}
}

func stageFullDisk(t *testing.T) staged {
	testenv.NeedRoot(t)
	me := newPerson(t)
	me.identifier()
	full := me.from(unshared(`
mkdir -p "$HOME/.local"
mount -t tmpfs -o size=64k tmpfs "$HOME/.local"
mkdir -p "$HOME/.local/state/sp"
dd if=/dev/zero of="$HOME/.local/filled" bs=1k 2>/dev/null || true
exec "$@"`))
	p, at := full.startOutlet(service(t, echo), watched...)
	return staged{sick: p, asks: me, doctor: full, args: []string{"--to", at}}
}

func stageFewDescriptors(t *testing.T) staged {
	w := newTopology(t, plan{relay: true, few: "relay", flags: watched})
	for range fewFiles / 2 { // that say nothing
		if c, err := net.Dial("tcp", w.relayAt); err == nil { // or it is turned away already
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return staged{sick: w.relay, asks: w.person}
}

func stageSwallowed(t *testing.T) staged {
	w := newTopology(t, plan{
		relay: true, faults: true, inlets: 1,
		flags: append([]string{"--keepalive", "300ms"}, watched...),
	})
	w.near.BlackHole(true)
	return staged{sick: w.inlet, asks: w.person, args: []string{"--to", w.route()}}
}

func stageSwallowedLarge(t *testing.T) staged {
	w := newOutlet(t)
	small := int64(500) // bytes, and no more, on each connection
	p := proxy(t, hostPortOf(w.route()), faultnet.ProxyConfig{Plan: func(int) faultnet.Plan {
		return faultnet.Plan{{Kind: faultnet.BlackHole, At: small}}
	}})
	inlet := w.start(append([]string{
		"inlet", "--listen", anywhere, "--to", p.Addr(), "--connect-timeout", "1s",
	}, watched...)...)
	return staged{sick: inlet, asks: w.person, args: []string{"--to", p.Addr()}}
}

func stageDirectoryDown(t *testing.T) staged {
	testenv.NeedTool(t, "nats-server")
	server, me, at := brokertest.NATS(t, ""), newPerson(t), testkit.Address(t)
	relay := me.start(append([]string{
		"relay", "--listen", at, "--advertise", at, "--directory", "nats://" + server.Address,
	}, watched...)...)
	relay.says("connected with the directory")
	server.Kill()
	return staged{sick: relay, asks: me, args: []string{"--to", "far@" + at}}
}

func stageBrokerDown(t *testing.T) staged {
	testenv.NeedTool(t, "nats-server")
	server, me := brokertest.NATS(t, ""), newPerson(t)
	at := "nats://" + server.Address + "/sp.outage"
	outlet := me.start(append([]string{"outlet", "--listen", at, "--target", anywhere}, watched...)...)
	outlet.ready()
	server.Kill()
	return staged{sick: outlet, asks: me, args: []string{"--to", at}}
}
