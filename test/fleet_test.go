//go:build unix

package test

import (
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// fleetSays is what the authority of the fleet says of each kind of member. Nobody vouches for a
// stranger.
var fleetSays = map[string][]string{
	"client":   {"--attr", "role=inlet"},
	"outlet":   {"--attr", "role=outlet", "--attr", "relay-name=db"},
	"relay":    {"--attr", "role=relay"},
	"stranger": nil,
}

// fleet is an authority, and somebody of each kind.
type fleet struct {
	t         *testing.T
	authority person
	members   map[string]person
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, authority: newPerson(t), members: make(map[string]person)}
	f.authority.identifier()
	for who := range fleetSays {
		f.join(who, who)
	}
	return f
}

// join makes a member of a kind.
func (f *fleet) join(name, kind string) {
	f.t.Helper()
	p := newPerson(f.t)
	id := p.identifier()
	if says := fleetSays[kind]; says != nil {
		p.file("credential", f.authority.vouch(id, says...))
	}
	f.members[name] = p
}

// as returns a command of a member's, who presents what the authority says of it and trusts the
// authority alone. A relay has the member's own key, which the authority knows.
func (f *fleet) as(who string, args ...string) []string {
	f.t.Helper()
	args = append(args, "--authority", f.authority.identifier())
	if args[0] == "relay" {
		args = append(args, f.members[who].ownKey()...)
	}
	if f.kindOf(who) != "stranger" {
		args = append(args, "--credential", f.members[who].home+"/credential")
	}
	return args
}

func (f *fleet) kindOf(who string) string { return strings.TrimPrefix(who, "another ") }

// start starts a role of a member's that is ready.
func (f *fleet) start(who string, args ...string) (p *process, printed string) {
	f.t.Helper()
	p = f.members[who].start(f.as(who, args...)...)
	return p, p.ready()
}

// The reasons for which a member is refused.
const (
	noOutlet    = "its bearer is no outlet"
	noInlet     = "its bearer is no inlet"
	anOutlet    = "its bearer is an outlet, and no inlet"
	otherName   = "its bearer may not go by the name web"
	noHop       = "its bearer is neither relay nor bridge"
	noName      = "a credential counts for an outlet that is asked for by name"
	noWord      = "no credential was presented"
	wrongName   = "the far end does not go by that name"
	unknownWeb  = "no outlet named web"
	noService   = "no service named outlet"
	ownIdentity = "it is our own identity"
)

// fleetWays are the ways by which a client asks for an outlet. The relay and the bridge are those
// of whoever has set the trap.
var fleetWays = []string{"direct", "relay", "bridge"}

// waysOf are those by which a case is tried, of three for each member: all, and for every day one,
// which is another for each of these three, and for each member.
func waysOf(number int) []string {
	turn := (number + number/3) % len(fleetWays)
	return testenv.OfRun(fleetWays[turn:turn+1], fleetWays, fleetWays)
}

// fleetAnswers says how it ends if a client asks for a name, or for none, and somebody with that
// name, or with none, answers by each of these ways: which reason it gives, or that it is served.
var fleetAnswers = []struct {
	who, asked string
	reasons    map[string]string // by way, a bridge's are those of the direct one; none: served
}{
	{"outlet", "db", nil},
	{"outlet", "web", map[string]string{"direct": otherName, "relay": otherName}},
	{"outlet", "", map[string]string{"direct": noName, "relay": noName}},
	{"client", "db", map[string]string{"direct": noOutlet, "relay": noOutlet}},
	{"client", "web", map[string]string{"direct": noOutlet, "relay": noOutlet}},
	{"client", "", map[string]string{"direct": noName, "relay": noName}},
	{"relay", "db", map[string]string{"direct": noOutlet, "relay": noOutlet}},
	{"relay", "web", map[string]string{"direct": noOutlet, "relay": noOutlet}},
	{"relay", "", map[string]string{"direct": noName, "relay": noName}},
	{"stranger", "db", map[string]string{"direct": noWord, "relay": noWord}},
	{"stranger", "web", map[string]string{"direct": noWord, "relay": noWord}},
	{"stranger", "", map[string]string{"direct": noName, "relay": noName}},
}

// TestFleet has each member of a fleet, and a stranger, take the place of each other: as the outlet
// that a client asks for, as a client, as the bridge on the way, as who claims a name on a relay,
// as the relay, and as one of a set of them. All but the right ones are refused, with the reason.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.join("another client", "client")
	f.join("another outlet", "outlet")
	f.join("another relay", "relay")
	beside := func(t *testing.T, name string, part func(*fleet)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			part(f.in(t))
		})
	}
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		for i, row := range fleetAnswers {
			beside(t, row.who+" for "+orNone(row.asked), func(f *fleet) {
				f.answers(row.who, row.asked, row.reasons, waysOf(i))
			})
		}
	})
	beside(t, "asks", (*fleet).asks)
	beside(t, "bridges", (*fleet).bridges)
	beside(t, "claims", (*fleet).claims)
	beside(t, "takes claims", (*fleet).takesClaims)
	beside(t, "is a set", (*fleet).isSet)
}

func orNone(name string) string {
	if name == "" {
		return "none"
	}
	return name
}

// in returns the same fleet in a part of the test.
func (f *fleet) in(t *testing.T) *fleet {
	t.Helper()
	here := &fleet{t: t, authority: f.authority, members: make(map[string]person)}
	here.authority.t = t
	for who, p := range f.members {
		p.t = t
		here.members[who] = p
	}
	return here
}

// trap has somebody answer to a name, or to none, by all ways, and let everybody in: it returns
// what to ask for. The relay is one that does as he likes.
func (f *fleet) trap(who, name, target string) map[string]string {
	f.t.Helper()
	routes := make(map[string]string)
	args := []string{"outlet", "--allow-anyone", "--target", target, "--listen", anywhere}
	at := ""
	if name != "" {
		mallory := newPerson(f.t)
		_, relay := mallory.startRelay("--allow", f.members[who].identifier())
		at = name + "@"
		routes["relay"] = at + relay
		args = append(args, "--name", name, "--relay", relay,
			"--relay-identity", mallory.relayIdentifier())
	}
	_, printed := f.start(who, args...)
	direct := hostPortOf(wordBehind(f.t, printed, "--to"))
	routes["direct"] = at + direct
	_, bridge := newPerson(f.t).startBridge(direct, "--open")
	routes["bridge"] = step(bridge) + step(direct) + toOutlet
	if name != "" {
		routes["bridge"] = step(bridge) + step(direct) + forwardTo(name) + toOutlet
	}
	if name == "" { // so the relay itself is asked for its outlet
		_, routes["relay"] = f.start(who, "relay", "--listen", anywhere)
	}
	return routes
}

func (f *fleet) answers(who, asked string, reasons map[string]string, ways []string) {
	f.t.Helper()
	routes := f.trap(who, asked, named(f.t, "target"))
	for _, way := range ways {
		route := routes[way]
		if way == "bridge" {
			way = "direct"
		}
		if reason := reasons[way]; reason != "" {
			f.members["another client"].fails(notTrusted, reason,
				f.as("another client", "inlet", "--no-wait", "--listen", anywhere, "--to", route)...)
			continue
		}
		_, inlet := f.start("another client", "inlet", "--listen", anywhere, "--to", route)
		reaches(f.t, inlet, "target")
	}
}

// turnedAway is how somebody is refused who asks for an outlet, or the zero value if he is not.
type turnedAway struct {
	code int
	told string
	by   string // who has logged the reason; nobody if it is not about who asks
	logs string
}

func refusedBy(by, logs string) turnedAway {
	return turnedAway{notTrusted, "not trusted by the far end", by, logs}
}

// fleetAsks says what becomes of each who asks for the outlet, which is called db, by each way and
// under each name. The outlet and the relay listen, and so does a bridge to the outlet.
var fleetAsks = []struct {
	who, asked string
	ends       map[string]turnedAway // by way
}{
	{"client", "db", everyWay(turnedAway{})},
	{"client", "web", everyWay(turnedAway{unreachable, unknownWeb, "", ""})},
	{"client", "", map[string]turnedAway{
		"direct": {notTrusted, wrongName, "", ""},
		"relay":  {unreachable, noService, "", ""},
		"bridge": {notTrusted, wrongName, "", ""},
	}},
	{"outlet", "db", everyWay(refusedBy("outlet", anOutlet))},
	{"outlet", "web", everyWay(turnedAway{unreachable, unknownWeb, "", ""})},
	{"outlet", "", map[string]turnedAway{
		"direct": refusedBy("outlet", anOutlet),
		"relay":  {unreachable, noService, "", ""},
		"bridge": refusedBy("outlet", anOutlet),
	}},
	{"relay", "db", everyWay(refusedBy("outlet", noInlet))},
	{"relay", "web", everyWay(turnedAway{unreachable, unknownWeb, "", ""})},
	{"relay", "", map[string]turnedAway{
		"direct": refusedBy("outlet", noInlet),
		"relay":  {unreachable, noService, "", ""},
		"bridge": refusedBy("outlet", noInlet),
	}},
	{"stranger", "db", map[string]turnedAway{
		"direct": refusedBy("outlet", noWord),
		"relay":  refusedBy("outlet", noWord),
		"bridge": refusedBy("bridge", noWord),
	}},
	{"stranger", "web", map[string]turnedAway{
		"direct": {unreachable, unknownWeb, "", ""},
		"relay":  {unreachable, unknownWeb, "", ""},
		"bridge": refusedBy("bridge", noWord),
	}},
	{"stranger", "", map[string]turnedAway{
		"direct": refusedBy("outlet", noWord),
		"relay":  refusedBy("relay", noWord),
		"bridge": refusedBy("bridge", noWord),
	}},
}

func everyWay(r turnedAway) map[string]turnedAway {
	return map[string]turnedAway{"direct": r, "relay": r, "bridge": r}
}

// asks has each of them be a client of the outlet. None is the one that serves.
func (f *fleet) asks() {
	f.t.Helper()
	relay, relayAt := f.start("relay", "relay", "--listen", anywhere)
	outlet, printed := f.start(
		"outlet", "outlet", "--listen", anywhere, "--name", "db", "--relay", relayAt, "--target",
		named(f.t, "target"))
	direct := hostPortOf(wordBehind(f.t, printed, "--to"))
	bridge, bridgeAt := f.start("relay", "bridge", "--listen", anywhere, "--next", direct)
	outlet.says("msg=registered")
	logs := map[string]*process{"outlet": outlet, "relay": relay, "bridge": bridge}
	places := map[string]string{"direct": direct, "relay": relayAt, "bridge": direct}
	askers := make(map[string][]func(*testing.T)) // each asks one thing after the other
	for i, row := range fleetAsks {
		for _, way := range waysOf(i) {
			to := places[way]
			if row.asked != "" {
				to = row.asked + "@" + to
			}
			if way == "bridge" {
				to = bridgeAt + "/" + to
			}
			askers[row.who] = append(askers[row.who], func(t *testing.T) {
				t.Run("for "+orNone(row.asked)+" by "+way, func(t *testing.T) {
					f.in(t).asksFor(row.who, to, row.ends[way], logs)
				})
			})
		}
	}
	for who, asks := range askers {
		f.t.Run(who, func(t *testing.T) {
			t.Parallel()
			for _, ask := range asks {
				ask(t)
			}
		})
	}
}

func (f *fleet) asksFor(who, to string, end turnedAway, logs map[string]*process) {
	f.t.Helper()
	asker := "another " + who
	if who == "stranger" {
		asker = who
	}
	ask := []string{"inlet", "--listen", anywhere, "--to", to}
	if end == (turnedAway{}) {
		_, inlet := f.start(asker, ask...)
		reaches(f.t, inlet, "target")
		return
	}
	ask = append(ask, "--no-wait", "--allow", f.members["outlet"].identifier(),
		"--allow", f.members["relay"].identifier())
	reason := f.members[asker].identifier() + " is not trusted: "
	log := logs[end.by]
	before := 0
	if log != nil {
		before = log.said(reason)
	}
	f.members[asker].fails(end.code, end.told, f.as(asker, ask...)...)
	if log == nil {
		return
	}
	log.saysAgain(reason, before)
	lines := log.linesWith(reason)
	if last := lines[len(lines)-1]; !strings.Contains(last, end.logs) {
		f.t.Errorf("the reason is not %q: %s", end.logs, last)
	}
}

// bridges has each of them be the bridge by which a client asks for the outlet.
func (f *fleet) bridges() {
	f.t.Helper()
	_, printed := f.start("outlet", "outlet", "--listen", anywhere, "--name", "db", "--target",
		named(f.t, "target"))
	direct := hostPortOf(wordBehind(f.t, printed, "--to"))
	for who, reason := range map[string]string{
		"relay": "", "client": noHop, "another outlet": noHop, "stranger": noWord,
	} {
		_, at := f.start(who, "bridge", "--allow-anyone", "--listen", anywhere, "--next", direct)
		for _, asked := range []string{"db@", "web@", ""} {
			to := at + "/" + asked + direct
			if reason != "" {
				f.members["another client"].fails(notTrusted, reason,
					f.as("another client", "inlet", "--no-wait", "--listen", anywhere, "--to", to)...)
			} else if asked == "db@" {
				_, inlet := f.start("another client", "inlet", "--listen", anywhere, "--to", to)
				reaches(f.t, inlet, "target")
			}
		}
	}
}

// claims has each of them claim a name on the relay.
func (f *fleet) claims() {
	f.t.Helper()
	relay, at := f.start("relay", "relay", "--listen", anywhere)
	claim := func(who, name string) []string {
		return f.as(who, "outlet", "--no-wait", "--relay", at, "--name", name, "--target", "127.0.0.1:1",
			"--relay-identity", f.members["relay"].identifier())
	}
	f.members["outlet"].start(claim("outlet", "db")...).ready()
	for who, reason := range map[string]string{
		"client": noOutlet, "relay": ownIdentity, "stranger": noWord,
	} {
		for _, name := range []string{"db", "web"} {
			f.members[who].fails(notTrusted, "not trusted", claim(who, name)...)
			relay.says(reason)
		}
	}
	f.members["outlet"].fails(notTrusted, "not trusted", claim("outlet", "web")...)
	relay.says(otherName)
}

// takesClaims has each of them be the relay on which the outlet claims its name. Whoever names a
// relay, or an authority, gets no other; to whoever does not, a relay is the network, and none.
func (f *fleet) takesClaims() {
	f.t.Helper()
	for who, reason := range map[string]string{
		"relay": "", "client": noHop, "another outlet": noHop, "stranger": noWord,
	} {
		_, at := f.start(who, "relay", "--listen", anywhere)
		outlet := f.members["outlet"]
		claim := []string{
			"outlet", "--no-wait", "--relay", at, "--name", "db", "--target", "127.0.0.1:1",
			"--credential", outlet.home + "/credential",
		}
		byAuthority := append(claim, "--authority", f.authority.identifier())
		byName := append(claim, "--relay-identity", f.members["relay"].identifier())
		if reason == "" {
			outlet.start(byAuthority...).ready()
		} else {
			outlet.fails(notTrusted, reason, byAuthority...)
			outlet.fails(notTrusted, "not among the 1 allowed", byName...)
		}
		outlet.start(append(claim, "--replace")...).
			says("name=db identifier=" + f.members[who].identifier())
	}
}

// isSet has each of them be one of a set of relays: one that is told of another one joins, if the
// authority calls it a relay, and nobody has to tell the others.
func (f *fleet) isSet() {
	f.t.Helper()
	at := testkit.Address(f.t)
	first, _ := f.start("relay", "relay", "--listen", at, "--set", at)
	join := func(who string) (*process, string) {
		f.t.Helper()
		where := testkit.Address(f.t)
		p, _ := f.start(who, "relay", "--listen", where, "--set", at, "--set", where)
		return p, where
	}
	second, secondAt := join("another relay")
	for _, p := range []*process{first, second} {
		p.says("met a relay of the set")
	}
	for _, who := range []string{"client", "another outlet", "stranger"} {
		p, _ := join(who)
		p.says("a relay of the set is not reached")
		first.says(f.members[who].identifier() + " is not trusted: ")
	}
	f.start("outlet", "outlet", "--relay", secondAt, "--name", "db", "--target",
		named(f.t, "target"))
	_, inlet := f.start("another client", "inlet", "--listen", anywhere, "--to", "db@"+at)
	reaches(f.t, inlet, "target")
	for _, p := range []*process{first, second} {
		if n := p.said("met a relay of the set"); n != 1 {
			f.t.Errorf("it has met %d relays", n)
		}
	}
}
