package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// mostExposed is what systemd-analyze security says at most of a unit, from 0 to 10, where 1.5 is
// what the page says of them.
const mostExposed = 1.5

// units are those of packages, by their names, and what is in them.
func units(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "packaging", "systemd", "*.service"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d units, %v", len(paths), err)
	}
	all := make(map[string]string)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = string(text)
	}
	return all
}

// installed writes a unit as one of this machine's, whose program is the one that is tested, and
// returns its path.
func installed(t *testing.T, dir, name, text string) string {
	t.Helper()
	text = strings.ReplaceAll(text, "/usr/bin/sp", executable(t))
	text = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(text, "")
	path := filepath.Join(dir, strings.Replace(name, "@.", "@some.", 1))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnits has systemd look at the units of packages: whether anything in them is unknown to it,
// and how much they leave to the services. What is the same in all is the same in all.
func TestUnits(t *testing.T) {
	t.Parallel()
	analyze := testenv.NeedTool(t, "systemd-analyze")
	version := must(t, exec.Command(analyze, "--version"))
	number, _ := strconv.Atoi(strings.Fields(string(version))[1])
	dir := t.TempDir()
	same := make(map[string]string) // what is to be the same, to who has it
	var paths []string
	for name, text := range units(t) {
		_, rest, ok := strings.Cut(text, "# What follows is the same in all units of sp.\n")
		hardening, _, _ := strings.Cut(rest, "\n[Install]")
		if same[strings.TrimSpace(hardening)] = name; !ok {
			t.Errorf("%s: nothing in it is the same as in others", name)
		}
		if number < 253 {
			text = strings.Replace(text, "Type=notify-reload\n", "", 1)
		}
		paths = append(paths, installed(t, dir, name, text))
	}
	if len(same) != 1 {
		t.Errorf("there are %d kinds of units: %v", len(same), same)
	}
	socket, err := os.ReadFile(filepath.Join("..", "packaging", "examples", "sp.socket"))
	if err != nil {
		t.Fatal(err)
	}
	installed(t, dir, "sp.socket", string(socket))
	out, err := exec.Command(analyze, append([]string{"verify"}, paths...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("%v\n%s", err, out)
	}
	if number < 250 {
		testenv.Skip(t, "needs systemd 250, whose systemd-analyze looks at units that do not run")
	}
	level := regexp.MustCompile(`Overall exposure level for .*: (\d+\.\d)`)
	for _, path := range paths {
		out := must(t, exec.Command(analyze, "security", "--offline=true", path))
		said := level.FindSubmatch(out)
		if said == nil {
			t.Fatalf("%s", out)
		}
		if n, _ := strconv.ParseFloat(string(said[1]), 64); n > mostExposed {
			t.Errorf("%s: %s is more than %v", filepath.Base(path), said[1], mostExposed)
		}
	}
}

// asUnit returns the command of a unit, with what that has in its environment, where state and
// configuration are in folders of this person's. env is what its EnvironmentFile says.
func (u person) asUnit(text, env string) *exec.Cmd {
	u.t.Helper()
	var args []string
	var more []string
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ExecStart":
			args = strings.Fields(strings.ReplaceAll(value, "/etc/sp", u.home))[1:]
		case "Environment":
			more = append(more, strings.Fields(strings.ReplaceAll(value, "/var/lib", u.home))...)
		case "EnvironmentFile":
			more = append(more, strings.Fields(env)...)
		}
	}
	cmd := u.command(args...)
	cmd.Env = append(cmd.Env, more...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// TestUnitsRun starts what the units start, with what they give it, and reloads it as they do: it
// says so to systemd each time, and makes its key where they say that it is.
func TestUnitsRun(t *testing.T) {
	t.Parallel()
	all := units(t)
	u := newPerson(t)
	u.file("sp.toml", "[relay.r]\nlisten = '"+anywhere+"'\n")
	for name, env := range map[string]string{
		"sp.service":        "",
		"sp-relay@.service": "SP_LISTEN=" + anywhere,
		"sp-bridge@.service": fmt.Sprintf("SP_LISTEN=%s SP_NEXT=%s", anywhere,
			"127.0.0.1:7000"),
		"sp-outlet@.service": fmt.Sprintf("SP_LISTEN=%s SP_TARGET=:1", anywhere),
	} {
		text, ok := all[name]
		if !ok {
			t.Fatalf("there is no %s", name)
		}
		s := newSystemd(t)
		p := s.start(u.asUnit(text, env))
		s.awaits("READY=1")
		if !strings.Contains(text, "ExecReload=kill -HUP $MAINPID\n") {
			t.Errorf("%s is not reloaded with SIGHUP", name)
		}
		p.signal(syscall.SIGHUP)
		s.awaits("RELOADING=1\nMONOTONIC_USEC=")
		s.awaits("READY=1")
		p.stop()
		s.awaits("STOPPING=1")
		p.ends(done)
	}
	for _, key := range []string{"sp/identity", "sp/relay/identity"} {
		if _, err := os.Stat(filepath.Join(u.home, key)); err != nil {
			t.Error(err)
		}
	}
}

// TestPackages has all that packages are to be made of be there. What is made when they are, in a
// folder of its own, .ci/packages finds in them.
func TestPackages(t *testing.T) {
	t.Parallel()
	made, err := os.ReadFile(filepath.Join("..", "goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^ +(?:- )?(?:src|postinstall|preremove|postremove): (.+)$`)
	all := named.FindAllSubmatch(made, -1)
	if len(all) == 0 {
		t.Fatal("nothing goes into packages")
	}
	for _, one := range all {
		if strings.HasPrefix(string(one[1]), "dist.generated/") {
			continue
		}
		found, err := filepath.Glob(filepath.Join("..", string(one[1])))
		if err != nil || len(found) == 0 {
			t.Errorf("there is no %s", one[1])
		}
	}
}
