package test

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// stage is where a story of a page is played. Each machine has an address of its own in the network
// 127.A.B.0/24, a home, and somebody there who runs sp; its ports are the page's, put where no
// other program is. Every address that a command names is that of a machine, its own loopback
// included, and behind every target is a service.
type stage struct {
	t         *testing.T
	network   string // 127.A.B
	tools     string // the folder of what stands in for other programs
	tls       tls.Certificate
	machines  map[string]*machine
	by        map[string]string // Identifiers, by what stands behind I…
	relayKeys *regexp.Regexp    // whose are relays' own keys
	oneKey    bool              // all machines have the same key
	instead   []string          // what a command says here in place of what a page says, in pairs
	unseen    *regexp.Regexp    // lines that a page shows and that are others here
	ticket    string            // the last that was printed
	block     *pageBlock        // that is played now
	services  map[string]bool   // by where they listen
	variables []string          // that a command has set for those after it
	answers   int               // of services
	opened    func()            // is called before the first command; nil is not
	webServer func()            // is called when a relay is behind one; nil is not
}

// stageRun is the folder of a home where sockets of sp status are: others are free for what a page
// puts there, such as sp.
const stageRun = ".run"

// machine is one of the stage's.
type machine struct {
	person
	name    string
	address string
	running []*stageProcess
}

// stageProcess is what goes on in the background.
type stageProcess struct {
	*process
	kind  string // the role
	block *pageBlock
	ends  bool // by itself, well
}

// stageNetwork is the second number of all networks of this process, which holds it.
var stageNetwork = sync.OnceValues(func() (int, error) {
	for range 100 {
		n := 2 + rand.N(250)
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.254:10999", n))
		if err == nil {
			_ = l // until this process ends
			return n, nil
		}
	}
	return 0, fmt.Errorf("no network is free")
})

var stages struct {
	sync.Mutex
	n    int
	keys map[string][]byte // of machines, by their names: making one costs a process
}

func newStage(t *testing.T) *stage {
	t.Helper()
	a, err := stageNetwork()
	if err != nil {
		t.Fatal(err)
	}
	stages.Lock()
	stages.n++
	b := stages.n // one of at most 254: there are some 60 stories
	stages.Unlock()
	s := &stage{
		t: t, network: fmt.Sprintf("127.%d.%d", a, b), machines: make(map[string]*machine),
		by: make(map[string]string), services: make(map[string]bool), tools: shortFolder(t),
	}
	s.tls, _ = certificate(t)
	for name, script := range standIns {
		if path, err := exec.LookPath(name); err == nil {
			script = strings.ReplaceAll(script, "REAL", path)
		}
		write(t, filepath.Join(s.tools, name), []byte("#!/bin/sh\n"+script+"\n"))
		if err := os.Chmod(filepath.Join(s.tools, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// standIns take the place of programs that are clients of services.
var standIns = map[string]string{
	"psql": `case $2 in
/*) w=unix:$2/.s.PGSQL.5432;;
*) w=$2:$4;;
esac
echo hello | talk "$w"`,
	"ssh":       `echo hello | sh -c "$(echo "${2#ProxyCommand=}" | sed 's/%h/10.1.2.3/;s/%p/22/')"`,
	"redis-cli": `a=${2#redis://}; echo hello | talk "$a"`,
	"make":      `echo hello | talk "$SP_DB_ADDR"`,
	"curl":      `exec REAL -k "$@"`,
}

// shortFolder is one whose name leaves room for that of a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// at returns a machine by the name that its prompt has.
func (s *stage) at(name string) *machine {
	s.t.Helper()
	if name == "" {
		name = "client"
	}
	m, ok := s.machines[name]
	if ok {
		return m
	}
	m = &machine{
		person: newPerson(s.t), name: name,
		address: fmt.Sprintf("%s.%d", s.network, 1+len(s.machines)),
	}
	m.home = shortFolder(s.t)
	m.survive = "1m"
	if err := os.Mkdir(filepath.Join(m.home, stageRun), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.machines[name] = m
	return m
}

// introduced has machines be each other's friends, or have the same key.
func (s *stage) introduced(names ...string) {
	s.t.Helper()
	for _, name := range names {
		key := name
		if s.oneKey {
			key = "everybody"
		}
		m := s.at(name)
		s.key(m, m.keyFile(), key)
		s.key(m, m.relayKeyFile(), "relay "+name)
	}
	if s.oneKey {
		return
	}
	for _, name := range names {
		var friends strings.Builder
		for _, other := range names {
			if other != name {
				fmt.Fprintln(&friends, s.identifier(other))
			}
		}
		public := filepath.Join(s.at(name).home, ".config", "sp", "public")
		if err := os.MkdirAll(public, 0o700); err != nil {
			s.t.Fatal(err)
		}
		write(s.t, filepath.Join(public, "friends"), []byte(friends.String()))
	}
}

// key gives a machine a key file, which is the same in all stories.
func (s *stage) key(m *machine, file, name string) {
	s.t.Helper()
	stages.Lock()
	defer stages.Unlock()
	if stages.keys == nil {
		stages.keys = make(map[string][]byte)
	}
	if stages.keys[name] == nil {
		made, _ := m.identity("made")
		b, err := os.ReadFile(made)
		if err != nil {
			s.t.Fatal(err)
		}
		stages.keys[name] = b
		_ = os.Remove(made)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, stages.keys[name], 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// identifier is what stands in a page as I…NAME.
func (s *stage) identifier(name string) string {
	s.t.Helper()
	if s.by[name] == "" {
		m := s.at(name)
		if s.relayKeys != nil && s.relayKeys.MatchString(name) {
			s.by[name] = m.relayIdentifier()
		} else {
			s.by[name] = m.identifier()
		}
	}
	return s.by[name]
}

const stageHost = `(?:[a-z0-9-]+\.(?:example\.com|internal)|127\.0\.0\.1|localhost|0\.0\.0\.0|` +
	`10(?:\.[0-9]+){3})`

var (
	stageIdentifier = regexp.MustCompile(`I…[a-z][a-z0-9]*`)
	stageTicket     = regexp.MustCompile(`sp-ticket-1:…`)
	stageRange      = regexp.MustCompile(`10(?:\.[0-9]+){3}/[0-9]+:`)
	stageLong       = regexp.MustCompile(`/(?:dnsaddr|dns|ip4)/(` + stageHost + `)/(tcp|udp)/([0-9]+)`)
	stageDefault    = regexp.MustCompile(`(wss|https|http)://(` + stageHost + `)(/|$|['" ])`)
	stagePlace      = regexp.MustCompile(`(^|[ =/@'",(\[])(` + stageHost + `)?:([0-9]+)\b`)
	stageProgram    = regexp.MustCompile(`([ @])127\.0\.0\.1 -p ([0-9]+)`)
	stageSocket     = regexp.MustCompile(`unix:/(?:[^ /]*/)*`)
)

// stagePort is where a port of a page is: below those of outgoing connections, and above those that
// only root has.
func stagePort(port string) string {
	n, _ := strconv.Atoi(port)
	if n == 0 {
		return port
	}
	return strconv.Itoa(n%10000 + 12000)
}

// host is the address of the machine that a page means by a name or an address, on another one.
func (s *stage) host(at *machine, name string) string {
	switch name {
	case "", "127.0.0.1", "localhost", "0.0.0.0":
		return at.address
	case "relays.example.com":
		return s.at("relay").address
	}
	if strings.HasPrefix(name, "10.") {
		return s.at(strings.ReplaceAll(name, ".", "-")).address
	}
	name, _, _ = strings.Cut(name, ".")
	if name == "inside" && s.machines[name] == nil {
		name = "server" // what the other side of a bridge calls it
	}
	return s.at(name).address
}

// here is what a page says, as it is on the stage.
func (s *stage) here(at *machine, text string) string {
	s.t.Helper()
	if text == "sp relay" { // whose port of its own may be somebody else's here
		text = "sp relay :4000"
	}
	replace := func(re *regexp.Regexp, by func(m []string) string) {
		text = re.ReplaceAllStringFunc(text, func(found string) string {
			return by(re.FindStringSubmatch(found))
		})
	}
	replace(stageRange, func(m []string) string { return s.network + ".0/24:" })
	replace(stageLong, func(m []string) string {
		return "/ip4/" + s.host(at, m[1]) + "/" + m[2] + "/" + stagePort(m[3])
	})
	replace(stageDefault, func(m []string) string {
		return m[1] + "://" + m[2] + map[string]string{"http": ":80"}[m[1]] +
			map[bool]string{true: ":443"}[m[1] != "http"] + m[3]
	})
	replace(stagePlace, func(m []string) string {
		if m[3] == "0" {
			return m[0]
		}
		return m[1] + s.host(at, m[2]) + ":" + stagePort(m[3])
	})
	text = strings.ReplaceAll(text, ".0/24:22", ".0/24:"+stagePort("22"))
	text = strings.ReplaceAll(text, ".0/24:443", ".0/24:"+stagePort("443"))
	replace(stageProgram, func(m []string) string {
		return m[1] + at.address + " -p " + stagePort(m[2])
	})
	for _, folder := range []string{"/home/me/", "/etc/sp/", "/var/lib/sp/"} {
		text = strings.ReplaceAll(text, folder, at.home+"/")
	}
	replace(stageSocket, func(m []string) string { return "unix:" + at.home + "/" })
	text = strings.ReplaceAll(text, "psql -h /tmp ", "psql -h "+at.home+" ")
	text = strings.ReplaceAll(text, "--listen=127.0.0.1 --port=9000",
		"--listen="+at.address+" --port="+stagePort("9000"))
	text = strings.ReplaceAll(text, "http.server 8080",
		"http.server "+stagePort("8080")+" --bind "+at.address)
	replace(stageIdentifier, func(m []string) string {
		return s.identifier(strings.TrimPrefix(m[0], "I…"))
	})
	replace(stageTicket, func(m []string) string { return s.ticket })
	return strings.NewReplacer(s.instead...).Replace(text)
}

var (
	stageRole   = regexp.MustCompile(`^sp (relay|outlet|inlet|bridge|up)(?: |$)`)
	stageOffer  = regexp.MustCompile(`^sp pair .*--(?:relay|listen) `)
	stageBehind = regexp.MustCompile(`\| sp (outlet) |^sp (run) --serve |` +
		`^systemd-socket-activate .* sp (inlet) `)
	stageOnce   = regexp.MustCompile(`--background|--listen - |--once`)
	stageTarget = regexp.MustCompile(`--(?:target|sni|allow-target)[ =]'?([^ ']+)`)
	stageLast   = regexp.MustCompile(`^sp outlet [^-].* ([^ -][^ ]*)$`)
	printedCode = regexp.MustCompile(`sp-ticket-1:[A-Za-z0-9_-]+`)
	madeKey     = regexp.MustCompile(`^sp identity create ([a-z0-9]+)\.key$`)
)

// play gives a command of a page on its machine.
func (s *stage) play(b *pageBlock, step pageStep) {
	s.t.Helper()
	s.block = b
	if s.opened != nil {
		s.opened()
		s.opened = nil
	}
	m := s.at(step.machine)
	command := s.here(m, step.command)
	if strings.Contains(command, "sp outlet ") && !strings.Contains(command, "\n") {
		s.targets(m, command)
	}
	role := stageRole.FindStringSubmatch(step.command)
	behind := stageBehind.FindStringSubmatch(step.command)
	switch {
	case role != nil && !stageOnce.MatchString(step.command):
		s.role(m, role[1], "exec "+command, step)
		if s.webServer != nil && strings.Contains(command, " ws://") {
			s.webServer()
			s.webServer = nil
		}
	case stageOffer.MatchString(step.command):
		p := s.begin(m, "pair", "exec "+command)
		p.ends = true
		s.ticket = printedCode.FindString(p.ready())
	case behind != nil:
		kind := strings.Join(behind[1:], "")
		p := s.begin(m, kind, command)
		p.ends = strings.HasPrefix(step.command, "tar ")
		switch kind {
		case "outlet":
			p.says("sp inlet ") // stdout is its service's
		case "inlet": // which is started by its first client
			where := m.address + ":" + stagePort("6000")
			eventually(s.t, "a socket", func() bool { return isListening(where) })
			s.use(m, where)
		}
	default:
		s.finish(m, command, step)
	}
}

// program is a command for a shell of a machine.
func (s *stage) program(m *machine, command string) *exec.Cmd {
	cmd := m.program("sh", "-c", "PATH="+s.tools+":$PATH; "+command)
	cmd.Dir = m.home
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+filepath.Join(m.home, stageRun))
	cmd.Env = append(cmd.Env, s.variables...)
	return cmd
}

// begin starts a command in the background.
func (s *stage) begin(m *machine, kind, command string) *stageProcess {
	s.t.Helper()
	p := &stageProcess{process: start(s.t, s.program(m, command)), kind: kind, block: s.block}
	m.running = append(m.running, p)
	return p
}

// role starts a role, in place of those of its kind that an earlier block has started there. It
// has to become ready, and an inlet to lead to a service.
func (s *stage) role(m *machine, kind, command string, step pageStep) {
	s.t.Helper()
	m.running = slices.DeleteFunc(m.running, func(p *stageProcess) bool {
		if p.kind != kind || p.block == s.block {
			return false
		}
		p.kill()
		return true
	})
	p := s.begin(m, kind, command)
	lines := max(1, len(step.shows))
	enough := func(all string) bool { return strings.Count(all, "\n") >= lines }
	if err := p.await(&p.stdout, enough); err != nil {
		s.t.Fatalf("%s$ %s: %v", m.name, step.command, err)
	}
	s.compare(m, step, p.stdout.String())
	if kind != "inlet" || strings.Contains(command, "--socks5") {
		return
	}
	for line := range strings.Lines(p.stdout.String()) {
		words := strings.Fields(line)
		s.use(m, words[len(words)-1])
	}
}

// finish gives a command that ends. It has to end well, unless the page shows that it does not.
func (s *stage) finish(m *machine, command string, step pageStep) {
	s.t.Helper()
	cmd := s.program(m, command)
	cmd.SysProcAttr = processAttributes()
	p := start(s.t, cmd)
	code, err := p.exitCode()
	if err != nil {
		s.t.Fatalf("%s$ %s: %v", m.name, step.command, err)
	}
	fails := slices.ContainsFunc(step.shows, func(l string) bool {
		return strings.HasPrefix(l, "sp: ") || strings.HasPrefix(l, "FAIL ")
	})
	if fails != (code != 0) {
		s.t.Fatalf("%s$ %s\n(%s)\nends with %d\n%s%s", m.name, step.command, command, code,
			p.stdout.String(), p.stderr.tail())
	}
	said := p.stdout.String()
	if made := madeKey.FindStringSubmatch(step.command); made != nil {
		s.by[made[1]] = strings.TrimSpace(said)
	}
	if code := printedCode.FindString(said); code != "" {
		s.ticket = code
	}
	if strings.HasPrefix(step.command, "base64 ") {
		s.variables = append(s.variables, "KEY="+said)
	}
	s.hand(m)
	for _, answer := range []string{"you said: hello", "it works", "\tHEAD"} {
		if strings.Contains(said, answer) {
			s.answers++
		}
	}
	if strings.HasPrefix(step.command, "sp inlet --background") {
		s.use(m, strings.TrimSpace(said))
	}
	if slices.ContainsFunc(step.shows, func(l string) bool { return strings.HasPrefix(l, "sp: ") }) {
		said += p.stderr.String()
	}
	s.compare(m, step, said)
}

// compare has a command print what the page shows, in the same order, but for portals of one file,
// which are ready in any order. There may be more.
func (s *stage) compare(m *machine, step pageStep, printed string) {
	s.t.Helper()
	lines := strings.Split(printed, "\n")
	for _, line := range step.shows {
		if s.unseen != nil && s.unseen.MatchString(line) {
			continue
		}
		is := shown(s.here(m, line))
		at := slices.IndexFunc(lines, is.MatchString)
		if at < 0 {
			s.t.Errorf("%s$ %s\nThe page shows\n%s\n(%v)\nand it prints\n%s", m.name, step.command,
				line, is, printed)
			return
		}
		if strings.HasPrefix(step.command, "sp up") {
			lines = slices.Delete(lines, at, at+1)
		} else {
			lines = lines[at+1:]
		}
	}
}

// hand gives everybody the credentials that somebody has.
func (s *stage) hand(from *machine) {
	s.t.Helper()
	files, _ := filepath.Glob(filepath.Join(from.home, "*.cred"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range s.machines {
			m.file(filepath.Base(file), string(b))
		}
	}
}

// isListening reports whether somebody can be connected to at an address.
func isListening(where string) bool {
	c, err := net.Dial("tcp", where)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// over ends what runs: what ends by itself has to do so well. Where there was a way to a service,
// somebody has to have gone it.
func (s *stage) over(story []*pageBlock) {
	s.t.Helper()
	for _, b := range story {
		for _, step := range b.steps {
			if strings.Contains(step.command, "sp inlet ") && s.answers == 0 {
				s.t.Errorf("%s: nobody has reached a service", b.at())
			}
		}
	}
	for _, m := range s.machines {
		for _, p := range m.running {
			if p.ends {
				p.process.ends(done)
			}
		}
		files, _ := filepath.Glob(filepath.Join(m.home, "*.pid"))
		for _, file := range files {
			b, _ := os.ReadFile(file)
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	}
}
