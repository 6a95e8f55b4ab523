package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/testkit"
)

// read reads a file's text as one that is in /etc/sp.
func read(t *testing.T, text string) *portalFile {
	t.Helper()
	f, err := readPortals("/etc/sp/sp.toml", text, false)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// required is what a table of a kind cannot do without.
var required = map[string]string{
	"inlet":  "listen = ':6000'\nto = 'h:1'\n",
	"outlet": "listen = ':7000'\ntarget = ':80'\n",
	"relay":  "listen = ':4000'\n",
	"bridge": "listen = ':8000'\nnext = 'h:1'\n",
}

// samples are values that keys can have, where any text will not do, and what else they take.
func samples(t *testing.T) map[string]string {
	who := testkit.NewIdentity(t).Identifier().String()
	const acme = "'h.example'\nlisten = 'tls://:9'"
	return map[string]string{
		"allow": "['" + who + "']", "deny": "['" + who + "']", "authority": "['" + who + "']",
		"relay-identity": "['" + who + "']\nrelay = 'r:1'\nname = 'x'",
		"require":        "['role=db']\nauthority = '" + who + "'",
		"suite":          "['Noise_XX_25519_AESGCM_SHA256']", "socket-mode": "'0660'",
		"listen": "':9'", "target": "':9'", "to": "['h:9']", "next": "['h:9']",
		"relay": "['r:1']", "name": "'x'\nrelay = 'r:1'", "proxy-protocol": "'v2'",
		"set": "['s:1']\nrelay-identity = '" + who + "'", "survive": "'90s'",
		"advertise": "['h:1']\nset = 's:1'\nrelay-identity = '" + who + "'",
		"weight":    "3\nset = 's:1'\nrelay-identity = '" + who + "'",
		"directory": "['nats://h:1']\nadvertise = 'h:1'",
		"mux":       "true\nrelay = 'r:1'",
		"replace":   "true\nrelay = 'r:1'",
		"share":     "true\nrelay = 'r:1'",
		"tls-cert":  "'/c'\ntls-key = '/k'", "tls-key": "'/k'\ntls-cert = '/c'",
		"acme":                acme,
		"acme-server":         "'https://ca.example/dir'\nacme = " + acme,
		"acme-email":          "'a@b.example'\nacme = " + acme,
		"acme-folder":         "'/f'\nacme = " + acme,
		"proxy":               "'http://u@p:1'",
		"proxy-password-file": "'/w'\nproxy = 'http://u@p:1'",
		"check":               "'tcp'", "check-interval": "'7s'\ncheck = 'tcp'",
		"memory":         "'64M'",
		"survive-memory": "'64M'",
		"target-ca":      "'x'\ntarget = 'tls://h:1'",
		"sni":            "['a=:9']",
		"allow-target":   "['a']\ntarget = ['a=:9']",
		"outlet socks5":  "true\nallow-target = ['h:1']\ntarget = []",
	}
}

// sampleFor is sampleOf a flag of a role.
func sampleFor(role *portalRole, f cli.Flag, some map[string]string) string {
	if value, ok := some[role.kind+" "+f.Names()[0]]; ok {
		return value
	}
	return sampleOf(f, some)
}

// sampleOf is a value of a flag, as a file has it, that is not its default.
func sampleOf(f cli.Flag, some map[string]string) string {
	if value, ok := some[f.Names()[0]]; ok {
		return value
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		return fmt.Sprint(!f.Value)
	case *cli.IntFlag:
		return "7"
	case *cli.DurationFlag:
		return "'7s'"
	case *listFlag:
		return "['x']"
	}
	return "'x'"
}

// elsewhere are keys whose effect is not in the configuration of a portal, and where it is.
var elsewhere = map[string]string{
	"log-format": "the process's log", "log-level": "the process's log",
	"no-sandbox": "the process", "metrics": "the process", "metrics-token-file": "the process",
	"metrics-pprof": "the process", "log-connections": "the process's log",
	"ticket": "its text is in a file: TestTicketIsFile",
}

// TestKeysAreFlags holds keys and flags together: each flag of a role is a key of its tables, or of
// the top, that changes what runs; or it says why it is none.
func TestKeysAreFlags(t *testing.T) {
	some := samples(t)
	for _, role := range portalRoles {
		without := read(t, "["+role.kind+".a]\n"+required[role.kind]).portals[0].config
		for _, f := range role.command().Flags {
			name := f.Names()[0]
			if notKeys[name] != "" || elsewhere[name] != "" {
				continue
			}
			key := name + " = " + sampleFor(role, f, some) + "\n"
			table := "[" + role.kind + ".a]\n"
			for line := range strings.Lines(required[role.kind]) {
				if !strings.Contains("\n"+key, "\n"+strings.Fields(line)[0]+" ") {
					table += line
				}
			}
			text := table + key
			if slices.Contains(processKeys, name) {
				text = key + table
			}
			file, err := readPortals("/etc/sp/sp.toml", text, false)
			if err != nil {
				t.Errorf("%s\n%v", text, err)
			} else if reflect.DeepEqual(file.portals[0].config, without) {
				t.Errorf("the key %s of a %s changes nothing: it is no key (notKeys), or not read",
					name, role.kind)
			}
		}
	}
}

// TestTopIsForAll has what stands at the top be a portal's, unless that says it for itself.
func TestTopIsForAll(t *testing.T) {
	id := func(c string) string { return "I" + strings.Repeat(c, 64) }
	f := read(t, `
identity = "key"
allow-anyone = true
allow-file = "/friends"
deny = ["`+id("d")+`"]
drain = "7s"
survive-memory = "32M"

[outlet.plain]
target = ":80"
relay = "r:1"

[outlet.own]
target = ":80"
listen = "unix:own.sock"
identity = "/other"
allow = ["`+id("a")+`"]
deny = ["`+id("e")+`"]
drain = "0s"

[relay.edge]
listen = [":4000"]
allow-file = []
`)
	plain, own, edge := f.portals[0].config, f.portals[1].config, f.portals[2].config
	for what, good := range map[string]bool{
		"identity of plain": plain.Node.Identity == "/etc/sp/key",
		"anchors of plain": plain.Node.Trust.AllowAnyone &&
			slices.Equal(plain.Node.Trust.AllowFiles, []string{"/friends"}),
		"name of plain":   plain.Outlets[0].Name == "plain",
		"drain of plain":  plain.Node.Drain.String() == "7s",
		"identity of own": own.Node.Identity == "/other",
		"anchors of own": !own.Node.Trust.AllowAnyone && own.Node.Trust.AllowFiles == nil &&
			slices.Equal(own.Node.Trust.Allow, []string{id("a")}),
		"deny of own":    slices.Equal(own.Node.Trust.Deny, []string{id("e"), id("d")}),
		"drain of own":   own.Node.Drain == config.NoDrain,
		"listen of own":  own.Outlets[0].Listen == "unix:/etc/sp/own.sock" && own.Outlets[0].Name == "",
		"listen of edge": edge.Relays[0].Listen == ":4000",
		"anchors of edge": !edge.Node.Trust.AllowAnyone && len(edge.Node.Trust.AllowFiles) == 0 &&
			slices.Equal(edge.Node.Trust.Deny, []string{id("d")}),
		"memory of edge": edge.Node.SurviveMemory == "32M",
	} {
		if !good {
			t.Errorf("%s is not what it should be", what)
		}
	}
}

// TestFileFaults says all that is wrong, where it is, and what to do.
func TestFileFaults(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "1: there is no portal in it: [inlet.NAME], [outlet.NAME], [relay.NAME], [bridge.NAME]"},
		{"[outlet.a]\n", "1: outlet a: neither listen nor relay: nobody could reach the outlet\n" +
			"1: outlet a: target is missing: where is the service?"},
		{
			"[outlet.a]\nlisten=':1'\ntarget=':80'\ntraget=':81'\n",
			"4: outlet a: there is no key traget: is target meant?",
		},
		{
			"identiy='x'\n[relay.a]\nlisten=':1'\n", "1: there is no key identiy: is identity meant?",
		},
		{
			"listen=':1'\n[relay.a]\nlisten=':1'\n",
			"1: listen stands in a table: [inlet.NAME], [outlet.NAME], [relay.NAME], [bridge.NAME]",
		},
		{"[relay.a]\nlisten=':1'\nlog-level='debug'\n", "3: relay a: log-level is for the whole " +
			"process: it stands at the top"},
		{"log-level='loud'\n[relay.a]\nlisten=':1'\n", `1: log-level "loud" is not debug, info, ` +
			"warn or error"},
		{
			"log-connections='some'\nmetrics='0.0.0.0:1'\n[relay.a]\nlisten=':1'\n",
			"1: log-connections \"some\" is not all, failed or none\n" +
				"1: metrics \"0.0.0.0:1\" is not this machine alone: metrics-token-file must say who may ask",
		},
		{
			"proxy='socks5://u:pw@h:1'\n[inlet.a]\nlisten=':1'\nto='h:1'\nproxy='u:pw@h'\n",
			"1: proxy has a password in it, a secret: put that into a file that only you can read, and " +
				"name it as proxy-password-file\n" +
				"5: inlet a: proxy has a password in it, a secret: put that into a file that only you can " +
				"read, and name it as proxy-password-file",
		},
		{"metrics-pprof=true\n[relay.a]\nlisten=':1'\n", "1: metrics is missing: where to tell them?"},
		{
			"metrics=':9'\n[relay.a]\nlisten=[':1', '[::]:9']\n[inlet.b]\nlisten='localhost:1'\nto='h:1'\n" +
				"[inlet.c]\nlisten='udp://:1'\nto='h:1'\n" +
				"[outlet.d]\nlisten='quic://127.0.0.1:1'\ntarget=':1'\n",
			"3: relay a: it listens at [::]:9, and metrics at localhost:9: that is the same port of the " +
				"same address\n" +
				"5: inlet b: it listens at localhost:1, and relay a at :1: that is the same port of the " +
				"same address\n" +
				"11: outlet d: it listens at quic://127.0.0.1:1, and inlet c at udp://localhost:1: that is " +
				"the same port of the same address",
		},
		{"[client.a]\n", "1: there is no [client.NAME]: is [inlet.NAME] meant?"},
		{"[outlets.a]\n", "1: there is no [outlets.NAME]: is [outlet.NAME] meant?"},
		{"[[relay]]\nlisten=':1'\n", "1: relay stands in a table of its own: [relay.NAME]"},
		{
			"[relay.a]\nlisten=1\ndrain=3\nmux='yes'\nmax-names='7'\nrelay=[1]\n",
			"2: relay a: listen is not a list like [\"one\", \"two\"]\n" +
				"3: relay a: drain is not a time like \"500ms\", \"30s\" or \"5m\", in quotes\n" +
				"4: relay a: mux is neither true nor false\n" +
				"5: relay a: max-names is not a whole number, without quotes\n" +
				"6: relay a: relay is not a list like [\"one\", \"two\"]",
		},
		{
			"[inlet.a]\nto='h:1'\nlisten=[':1',':2']\n", "3: inlet a: listen takes one value",
		},
		{
			"[relay.a]\nlisten=':1'\nmax-names=0\nkeepalive='0s'\n",
			"4: relay a: keepalive 0s is not a time to wait\n" +
				"3: relay a: max-names 0 lets nothing through",
		},
		{
			"[inlet.a]\nlisten='-'\nto='-'\nticket='sp-ticket-1:x'\n",
			"2: inlet a: listen is -, and a file of portals has no stdin and stdout\n" +
				"3: inlet a: to is -, and a file of portals has no stdin and stdout\n" +
				"4: inlet a: ticket is the ticket itself, a secret: put it into a file that only you " +
				"can read, and name that",
		},
		{
			"[inlet.a]\nlisten=':1'\nto=['unix:x.sock',\n 'h:1',\n 'unix:y.sock']\n",
			"3: inlet a: to \"unix:x.sock\": the path of a Unix socket begins with / here\n" +
				"5: inlet a: to \"unix:y.sock\": the path of a Unix socket begins with / here",
		},
		{
			"[relay.a]\nlisten=':1'\n[bridge.b]\nlisten=':1'\nnext='h:1'\n" +
				"[outlet.c]\nrelay='r:1'\nname='x'\ntarget=':80'\n" +
				"[outlet.d]\nrelay=['r:1']\nname='x'\ntarget=':81'\n",
			"4: bridge b: it listens at :1, which relay a does already\n" +
				"12: outlet d: it claims the name x on the relay r:1, which outlet c does already",
		},
		{"[relay.'a b']\n", `1: [relay."a b"]: a name is 1 to 64 letters, digits, dots, dashes and ` +
			"underscores"},
		{"deny='Ix'\n[relay.a]\nlisten=':1'\n[relay.b]\nlisten=':2'\n", `1: deny "Ix": identifier ` +
			"has 2 characters, want 65"},
		{
			"allow=['I" + strings.Repeat("0", 64) + "']\n[relay.a]\nlisten=':1'\n",
			"1: allow \"I" + strings.Repeat("0", 64) + "\": that Identifier is nobody's",
		},
	} {
		_, err := readPortals("f", test.text, false)
		if err == nil {
			t.Errorf("%s\nnothing is wrong", test.text)
			continue
		}
		want := strings.Split(test.want, "\n")
		got := strings.Split(strings.ReplaceAll(err.Error(), "f:", ""), "\n")
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngot\n%s\nwant\n%s", test.text, strings.Join(got, "\n"),
				strings.Join(want, "\n"))
		}
	}
}

// TestNamedFiles has the files that are named be looked at, each at its line, and only where that
// is asked for.
func TestNamedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sp.toml")
	text := "metrics = ':9'\nmetrics-token-file = 'none'\ntls-ca = 'sp.toml'\n" +
		"[relay.a]\nlisten = 'wss://:1'\ntls-cert = 'none'\ntls-key = 'none'\nallow-anyone = true\n" +
		"[outlet.b]\nrelay = 'h:1'\ntarget = 'tls://h:1'\ntarget-ca = 'none'\n" +
		"brokers = 'none'\nproxy = 'http://u@h:1'\nproxy-password-file = 'none'\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPortals(path, text, false); err != nil {
		t.Error(err)
	}
	_, err := readPortals(path, text, true)
	if err == nil {
		t.Fatal("all files are there")
	}
	want := []string{
		"2: metrics-token-file: ", "3: tls-ca: ", "6: relay a: tls-cert: ",
		"12: outlet b: target-ca: ", "13: outlet b: brokers: ", "15: outlet b: proxy-password-file: ",
	}
	got := strings.Split(err.Error(), "\n")
	for i, line := range got {
		if i >= len(want) || !strings.HasPrefix(line, path+":"+want[i]) {
			t.Errorf("got %q", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d faults, want %d", len(got), len(want))
	}
}

// TestTicketIsFile reads the ticket that a file has, and never one that stands in the file itself.
func TestTicketIsFile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	key := filepath.Join(home, "key")
	for _, args := range [][]string{
		{"identity", "create", key},
		{"ticket", "create", "--identity", key, "--to", "h:7000"},
	} {
		code, out, errOut := run(args...)
		if code != 0 {
			t.Fatalf("sp %v: %s", args, errOut)
		}
		if args[0] == "ticket" {
			if err := os.WriteFile(filepath.Join(home, "t"), []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(home, "sp.toml")
	f, err := readPortals(path, "[inlet.a]\nlisten=':1'\nticket='t'\n", false)
	if err != nil {
		t.Fatal(err)
	}
	c := f.portals[0].config
	if c.Node.Ticket == "" || len(c.Inlets[0].To) != 1 {
		t.Errorf("got %+v", c)
	}
	_, err = readPortals(path, "[inlet.a]\nlisten=':1'\nticket='u'\n", false)
	if err == nil || !strings.Contains(err.Error(), ":3: inlet a: ") {
		t.Errorf("a ticket that is not there: %v", err)
	}
}

// ofOtherOutlets are keys that do not go with others.
var ofOtherOutlets = []string{"socks5", "sni", "allow-target"}

// everything is a file with every key of every role, but for those of another certificate.
func everything(t *testing.T) string {
	some := samples(t)
	some["require"] = "['role=db']" // the others are there
	for name := range some {
		some[name], _, _ = strings.Cut(some[name], "\n")
	}
	some["target"] = "'tls://h:1'" // which target-ca takes
	some["log-format"], some["log-level"] = "'json'", "'warn'"
	some["log-connections"], some["metrics"] = "'all'", "'127.0.0.1:9464'"
	top, tables := make(map[string]string), ""
	for i, role := range portalRoles {
		tables += "[" + role.kind + ".a]\n"
		for _, f := range role.command().Flags {
			name := f.Names()[0]
			line := name + " = " + sampleOf(f, some) + "\n"
			switch {
			case notKeys[name] != "", name == "ticket":
			case strings.HasPrefix(name, "acme"): // does not stand beside tls-cert
			case strings.HasPrefix(name, "directory"): // does not stand beside private
			case role.kind == "outlet" && slices.Contains(ofOtherOutlets, name):
			case slices.Contains(processKeys, name):
				top[name] = line
			default:
				line = strings.Replace(line, "':9'", fmt.Sprintf("':%d9'", i+1), 1)
				tables += strings.Replace(line, "'r:1'", fmt.Sprintf("'r:%d'", i+1), 1)
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Values(top)), "") + tables
}

// TestPrintedFile reads what is printed of a file as the same portals, and prints it the same.
func TestPrintedFile(t *testing.T) {
	for _, text := range []string{
		"[relay.a]\nlisten = ':4000'\n",
		"identity = 'k'\nallow-anyone = true\ndeny-file = 'd'\n[outlet.b]\nrelay = 'r:1'\n" +
			"target = 'unix:x'\n[inlet.\"c.d\"]\nlisten = ':1'\nto = 'h:1'\ndrain = '0s'\n" +
			"allow-file = []\ncredential = \"a\\\"b\\u00e9\"\n",
		"[relay.a]\nlisten = ['tls://:443']\nacme = ['h.example']\nacme-email = 'a@b.example'\n" +
			"acme-server = 'https://ca.example/'\nacme-folder = '/f'\n",
		"[relay.a]\nlisten = ':1'\nadvertise = 'h:1'\ndirectory = ['nats://h', 'nats://i:9']\n" +
			"brokers = 'f'\n",
		"[outlet.a]\nlisten = ':1'\nsocks5 = true\nallow-target = ['h:1', '10.0.0.0/8:1-2 if a=b']\n" +
			"[outlet.b]\nlisten = ':2'\nsni = ['a.b=unix:x', 'c=:2']\ntarget = ':3'\n" +
			"allow-target = ['*', 'a.b if x=y', 'c if x=y and z=']\n" +
			"[outlet.c]\nrelay = 'r:1'\ntarget = ['a=:9,b=unix:x', 'c=:1']\n",
		everything(t),
	} {
		f := read(t, text)
		printed := printPortals(f)
		again, err := readPortals("/elsewhere/sp.toml", printed, false)
		if err != nil {
			t.Errorf("%v in\n%s", err, printed)
			continue
		}
		for i, p := range f.portals {
			got, want := again.portals[i], p
			if got.fullName() != want.fullName() {
				t.Errorf("got %s, want %s", got.fullName(), want.fullName())
			}
			if g, w := fmt.Sprintf("%+v", got.config), fmt.Sprintf("%+v", want.config); g != w {
				t.Errorf("%s is\n%s\nand was\n%s", p.fullName(), g, w)
			}
		}
		for _, name := range processKeys {
			if name == "metrics-token-file" { // it is printed with its folder
				continue
			}
			if fmt.Sprint(listOf(again.keys[name])) != fmt.Sprint(listOf(f.keys[name])) &&
				f.keys[name].Value != nil {
				t.Errorf("%s is %v, and was %v", name, again.keys[name].Value, f.keys[name].Value)
			}
		}
		if twice := printPortals(again); afterFirstLine(twice) != afterFirstLine(printed) {
			t.Errorf("printed again it is\n%s\nand was\n%s", twice, printed)
		}
	}
}

func afterFirstLine(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

// TestPrintedHasEveryKey has each key stand in what is printed, with its default at least.
func TestPrintedHasEveryKey(t *testing.T) {
	for _, role := range portalRoles {
		printed := printPortals(read(t, "["+role.kind+".a]\n"+required[role.kind]))
		for _, f := range role.command().Flags {
			if name := f.Names()[0]; notKeys[name] == "" &&
				!strings.Contains(printed, "\n"+name+" = ") &&
				!strings.Contains(printed, "\n# "+name+" = ") {
				t.Errorf("a %s is printed without %s", role.kind, name)
			}
		}
	}
}
