package test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// notPlayed are commands of pages that no story gives, and why. TestPages in cli reads those of sp.
var notPlayed = []struct{ page, command, why string }{
	{"README.md", "go test ", "all tests, this one among them"},
	{"docs/README.md", "hugo ", "TestSite in docs does it"},
	{"docs/quickstart.md", "CGO_ENABLED=0 go build ", "every test of this folder does it"},
	{"docs/cookbook.md", "ssh -N ", taken},
	{"docs/cookbook.md", "autossh ", taken},
	{"docs/cookbook.md", "ghostunnel ", taken},
	{"docs/cookbook.md", "frps ", taken},
	{"docs/cookbook.md", "frpc ", taken},
	{"docs/cookbook.md", "ngrok ", taken},
	{"docs/cookbook.md", "chisel ", taken},
	{"docs/cookbook.md", "cloudflared ", taken},
	{"docs/topologies.md", "sp inlet … ", "it shows one flag of a command"},
	{"docs/topologies.md", "sp trace --to db@relay.example.com:4000", "needs NATs: TestDirect"},
	{"docs/topologies.md", "sp outlet --listen ble://", needsRadio},
	{"docs/topologies.md", "sp bridge --listen ble://", needsRadio},
	{"docs/topologies.md", "sp inlet --listen :6000 --to ble://", needsRadio},
	{"docs/topologies.md", "sp inlet --listen :6000 --to /ble/", needsRadio},
	{"docs/topologies.md", "sp outlet --listen nats://", needsBroker},
	{"docs/topologies.md", "sp outlet --brokers ", needsBroker},
	{"docs/topologies.md", "sp bridge --listen :8000 --next nats://", needsBroker},
	{"docs/topologies.md", "sp bridge --listen nats://", needsBroker},
	{"docs/topologies.md", "sp inlet --listen :6000 --to nats://", needsBroker},
	{"docs/topologies.md", "sp inlet --listen :6000 --to /nats/", needsBroker},
	{
		"docs/topologies.md",
		"sp inlet --listen :6000 --to /dnsaddr/bridge.example.com/tcp/8000/secure/api/nats/",
		needsBroker,
	},
	{"docs/cluster.md", "sp relay --listen :4000 --advertise a.example.com:4000 ", needsBus},
	{"docs/topologies.md", "ssh -o ProxyCommand='nc ", "needs OpenBSD's nc; curl -x goes there"},
	{"docs/operating.md", "cosign ", release},
	{"docs/operating.md", "sha256sum ", release},
	{"docs/operating.md", "gh ", release},
	{"docs/services.md", "systemctl ", needsBooted},
	{"docs/services.md", "sudo -u sp ", needsBooted},
	{"docs/services.md", "sp service ", needsWindows},
	{"docs/services.md", "icacls ", needsWindows},
	{"docs/model/README.md", "apt-get ", "what .ci/run installs"},
	{"docs/model/README.md", "SP_FULL=1 go test ", others},
	{"docs/trust.md", "go test ", others},
	{"docs/reliability.md", "go test ", others},
	{"docs/performance.md", "go run ./bench ", "TestEverything in bench does a small one"},
}

const (
	taken        = "what sp takes the place of; each wants a program, a login or a machine of its own"
	release      = "needs a release, and what has signed it"
	needsBooted  = "needs systemd as the first process: TestBooted"
	needsWindows = "needs Windows: TestWindowsService"
	needsRadio   = "needs radios: TestBluetooth has the same roles there"
	needsBroker  = "needs a broker: TestTransports has the same roles at one, and TestPages reads it"
	needsBus     = "needs servers of NATS: TestDirectory"
	others       = "other tests"
)

// notCommands are blocks that are neither commands nor drawings, by the language of their fence or
// the beginning of their first line, and what holds them to the truth.
var notCommands = []struct{ page, begins, why string }{
	{"docs/PROTOCOL.md", "```", "TestExample in docs computes them"},
	{"docs/commands.md", "```text", "TestReference in cli makes it, TestExamples reads the examples"},
	{"docs/cluster.md", "[Service]", "TestPageFiles"},
	{"docs/cluster.md", "authorization {", "TestPermissionsOfThePage in natsbus"},
	{"docs/cluster.md", "n1.example.com ", "TestParse in internal/brokers has such lines"},
	{"docs/cluster.md", "services:", "TestPages in cli reads the command"},
	{"docs/config.md", "identity = ", "its story runs it"},
	{"docs/config.md", "```ini", "TestUpUnit has systemd look at it"},
	{"docs/cookbook.md", "Host home", "TestPages in cli reads the command, which stands before it"},
	{"docs/cookbook.md", "```yaml", "TestPages in cli reads the commands; CI's stand before it"},
	{"docs/metrics.md", "/var/log/sp.log {", "of logrotate; TestLogFile has the signal"},
	{"docs/metrics.md", "level=INFO ", "TestLogConnections has such lines"},
	{"docs/metrics.md", "scrape_configs:", "TestPageFiles"},
	{"docs/design/0004-records.md", "record = ", "a record, as PROTOCOL.md has it: TestExample"},
	{"docs/model/PROOFS.md", "docs/model/prove ", "TestProofs in docs/model runs it"},
	{"docs/model/README.md", `cd "$(mktemp -d)" `, "TestModel in docs/model does the same"},
	{"docs/services.md", "SP_LISTEN=", "TestUnits has such a file"},
	{"docs/services.md", "[Socket]", "TestPageFiles"},
	{"docs/topologies.md", "/dnsaddr/bridge.example.com/", "its story has sp route print it"},
	{"docs/topologies.md", "broker.example.com ", "TestParse in internal/brokers has such lines"},
	{"docs/topologies.md", "location /sp {", "TestPageFiles; TestBehindNginx has it at work"},
	{"docs/trust.md", "allow-target = [", "the same as in the command before it"},
}

// chapter is what the stories of a page, or of one section of it, have in common.
type chapter struct {
	whole     bool           // the page is one story
	strangers bool           // nobody has been introduced
	oneKey    bool           // all have the same key, but for relays
	relayKeys *regexp.Regexp // the Identifiers of which names are those of relays' keys
	instead   []string       // in place of what stands in the page, in pairs
	unseen    *regexp.Regexp // lines that the page shows, which are others here
	runs      []string       // MACHINE$ COMMAND, what is there before
	needs     []string       // programs
	everyday  bool           // it is played in the everyday form as well
	before    func(s *stage)
	after     func(s *stage)
}

const (
	aRelay  = "edge$ sp relay --listen relay.example.com:4000 --allow-anyone"
	aDB     = "db$ sp outlet --relay relay.example.com:4000 --name db --target 127.0.0.1:9000"
	aCache  = "cache$ sp outlet --relay relay.example.com:4000 --name cache --target 127.0.0.1:9000"
	aHome   = "home$ sp outlet --relay relay.example.com:4000 --name home --target 127.0.0.1:22"
	aServer = "server$ sp outlet --listen :7000 --target 127.0.0.1:9000"
	aPort   = "client$ sp outlet --listen :7000 --target 127.0.0.1:9000"
)

var (
	byACME    = []string{"--acme relay.example.com", "--tls-cert cert.pem --tls-key key.pem"}
	certified = (*stage).certificates
	relays    = regexp.MustCompile(`^relay`)
)

// chapters are by page, or by page and section.
var chapters = map[string]chapter{
	"README.md": {
		everyday: true, needs: []string{"git"}, before: (*stage).checkout,
		instead: []string{"CGO_ENABLED=0 go build -o sp .", "cp $(command -v sp) sp"},
	},
	"docs/quickstart.md": {everyday: true, whole: true, strangers: true},

	"docs/cookbook.md A database behind NAT":                   {everyday: true, strangers: true},
	"docs/cookbook.md ssh to a machine at home":                {everyday: true},
	"docs/cookbook.md A CI job that reaches a private service": {everyday: true},
	"docs/cookbook.md A fleet with an authority": {
		everyday: true, before: (*stage).denyFile, after: (*stage).aliceIsOut,
	},
	"docs/cookbook.md chisel":      {instead: byACME, before: certified},
	"docs/cookbook.md cloudflared": {instead: byACME, before: certified},

	"docs/topologies.md":            {oneKey: true, relayKeys: relays},
	"docs/topologies.md Topologies": {oneKey: true, runs: []string{aRelay, aDB}},
	"docs/topologies.md Where only the web gets through": {
		oneKey: true, relayKeys: relays, before: (*stage).theWeb,
	},
	"docs/topologies.md Channel in channel": {
		oneKey: true, relayKeys: relays, after: (*stage).longForm,
	},
	"docs/topologies.md Several services": {oneKey: true, needs: []string{"curl"}},
	"docs/topologies.md Unix sockets":     {oneKey: true, runs: []string{aPort}},
	"docs/topologies.md Datagrams": {
		oneKey: true, needs: []string{"dig"}, runs: []string{aRelay},
	},
	"docs/topologies.md Different identities": {},

	"docs/guide.md In fewer words": {everyday: true},
	"docs/guide.md Several services": {
		needs: []string{"curl"}, before: func(s *stage) { s.serveAt("wiki.internal:443") },
	},
	"docs/guide.md Routes": {runs: []string{aRelay, aDB, aPort}},
	"docs/guide.md Stdin, Unix sockets, UDP": {
		runs: []string{aRelay, aHome, aDB}, before: (*stage).folder, after: (*stage).isCopied,
	},
	"docs/guide.md Where TCP does not get through": {
		instead: byACME, before: certified, runs: []string{aDB + " &"},
	},
	"docs/guide.md In scripts": {
		needs: []string{"python3"}, runs: []string{aRelay, aDB, aCache, aServer},
		after: (*stage).pythonServes,
	},
	"docs/guide.md Who is trusted": {
		everyday: true, before: func(s *stage) { s.at("server").file("friends", "") },
	},

	"docs/cluster.md": {oneKey: true, relayKeys: regexp.MustCompile(`^[ab]$`)},
	"docs/cluster.md Several outlets of one name": {oneKey: true, runs: []string{aRelay}},

	"docs/config.md": {everyday: true, runs: []string{aRelay}, before: (*stage).portalFile},

	"docs/metrics.md sp status": {
		everyday: true, runs: []string{aRelay, aDB}, before: (*stage).talking,
		unseen: regexp.MustCompile(`inlet :6000 `),
	},
	"docs/metrics.md When something does not work": {
		everyday: true, runs: []string{aRelay}, unseen: regexp.MustCompile(`^ok +(?:name|address) `),
	},
	"docs/metrics.md Metrics": {needs: []string{"curl"}},

	"docs/performance.md Measuring a way of your own": {
		runs: []string{aRelay}, instead: []string{"sp bench ", "sp bench --duration 100ms "},
	},
	"docs/services.md Sockets that outlive the process": {
		needs: []string{"systemd-socket-activate"}, runs: []string{aRelay, aDB},
	},
	"docs/trust.md The model": {before: (*stage).fleet},
}

// chapterOf is what holds for a story.
func chapterOf(b *pageBlock) chapter {
	if c, ok := chapters[b.page+" "+b.section]; ok {
		return c
	}
	return chapters[b.page]
}

func pageFiles(t *testing.T) []string {
	t.Helper()
	all := []string{"../README.md"}
	for _, pages := range []string{"../docs/*.md", "../docs/*/*.md"} {
		some, err := filepath.Glob(pages)
		if err != nil || len(some) < 3 {
			t.Fatalf("%s: %d pages, %v", pages, len(some), err)
		}
		all = append(all, some...)
	}
	return all
}

// TestPageStories does what stands in the README and in the documents, on the sp that is built. The
// commands of a section are a story: they are given one after the other, each on the machine that
// its prompt says, and what the page shows is what has to come out. A command that is not given has
// to stand in a table that says why, and so has a block that is neither commands nor a drawing. In
// the everyday form the stories of those chapters are played that say so, with SP_CI=1 all.
func TestPageStories(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool)
	for _, file := range pageFiles(t) {
		var stories [][]*pageBlock
		for _, b := range readBlocks(t, file) {
			left, err := sift(b, used)
			if err != nil {
				t.Error(err)
			}
			if !left {
				continue
			}
			if n := len(stories); n > 0 && (stories[n-1][0].section == b.section || chapterOf(b).whole) {
				stories[n-1] = append(stories[n-1], b)
			} else {
				stories = append(stories, []*pageBlock{b})
			}
		}
		for _, story := range stories {
			t.Run(strings.TrimPrefix(story[0].page, "docs/")+" "+story[0].section,
				func(t *testing.T) {
					t.Parallel()
					playStory(t, story)
				})
		}
	}
	for _, n := range notPlayed {
		if !used[n.page+n.command] {
			t.Errorf("%s has no %q", n.page, n.command)
		}
	}
	for _, n := range notCommands {
		if !used[n.page+n.begins] {
			t.Errorf("%s has no block %q", n.page, n.begins)
		}
	}
}

// sift takes what is not to be played out of a block, and reports whether anything is left. What
// is neither commands nor a drawing, and stands in no table, is an error.
func sift(b *pageBlock, used map[string]bool) (left bool, err error) {
	if len(b.steps) == 0 && !b.isDrawing() {
		for _, n := range notCommands {
			if n.page == b.page && (strings.HasPrefix("```"+b.language, n.begins) ||
				strings.HasPrefix(b.lines[0], n.begins)) {
				used[n.page+n.begins] = true
				return false, nil
			}
		}
		return false, fmt.Errorf("%s: what is it, and what has it be true? Make it commands, or put it "+
			"into notCommands:\n%s", b.at(), strings.Join(b.lines, "\n"))
	}
	b.steps = slices.DeleteFunc(b.steps, func(step pageStep) bool {
		for _, n := range notPlayed {
			if n.page == b.page && strings.HasPrefix(step.command, n.command) {
				used[n.page+n.command] = true
				return true
			}
		}
		return false
	})
	return len(b.steps) > 0, nil
}

var ofKey = regexp.MustCompile(`--identity ([a-z]+)\.key`)

// playStory plays the blocks of a story.
func playStory(t *testing.T, story []*pageBlock) {
	t.Helper()
	c := chapterOf(story[0])
	if !c.everyday && !testenv.OfRun(false, true, true) {
		t.Skip("for SP_CI=1")
	}
	for _, tool := range c.needs {
		testenv.NeedTool(t, tool)
	}
	s := newStage(t)
	s.block = story[0]
	s.oneKey, s.relayKeys, s.instead, s.unseen = c.oneKey, c.relayKeys, c.instead, c.unseen
	if !c.strangers {
		s.introduced(machinesOf(story, c.runs)...)
	}
	s.keysOf(story)
	if c.before != nil {
		c.before(s)
	}
	for _, run := range c.runs {
		name, command, _ := strings.Cut(run, "$ ")
		m := s.at(name)
		if name == "edge" { // it is at the relay's address
			m.address = s.at("relay").address
		}
		s.targets(m, s.here(m, command))
		p := s.begin(m, "", "exec "+strings.TrimSuffix(s.here(m, command), " &"))
		if !strings.HasSuffix(command, " &") {
			p.ready()
		}
	}
	for _, b := range story {
		for _, step := range b.steps {
			s.play(b, step)
		}
	}
	if c.after != nil {
		c.after(s)
	}
	s.over(story)
}

// machinesOf are those that a story names.
func machinesOf(story []*pageBlock, runs []string) []string {
	all := []string{"client", "server", "relay"}
	seen := map[string]bool{"": true, "client": true, "server": true, "relay": true}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	for _, run := range runs {
		name, _, _ := strings.Cut(run, "$ ")
		add(name)
	}
	for _, b := range story {
		for _, step := range b.steps {
			add(step.machine)
		}
	}
	return all
}

// keysOf makes the keys that a story has in files, where it does not make them itself: what stands
// behind I… is theirs.
func (s *stage) keysOf(story []*pageBlock) {
	s.t.Helper()
	for _, b := range story {
		for _, step := range b.steps {
			if madeKey.MatchString(step.command) {
				return
			}
		}
	}
	for _, b := range story {
		for _, step := range b.steps {
			for _, found := range ofKey.FindAllStringSubmatch(step.command, -1) {
				m := s.at(step.machine)
				file := filepath.Join(m.home, found[1]+".key")
				s.key(m, file, found[1]+".key")
				s.by[found[1]] = m.must("identity", "show", file)
			}
		}
	}
}
