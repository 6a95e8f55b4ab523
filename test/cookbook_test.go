//go:build unix

package test

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const cookbook = "../docs/cookbook.md"

// TestCookbook does jobs of docs/cookbook.md: it takes the commands out of the page and gives each
// on a machine of its own, one after the other. Ports are free ones here, hosts are this one. psql
// and ssh are stand-ins that say something to what they reach, and the service says it again.
func TestCookbook(t *testing.T) {
	t.Parallel()
	for _, job := range []struct {
		section string
		blocks  int // of the section, from the first on
		after   func(k *kitchen)
	}{
		{section: "A database behind NAT", blocks: 1},
		{section: "ssh to a machine at home", blocks: 1},
		{section: "A CI job that reaches a private service", blocks: 2},
		{section: "A fleet with an authority", blocks: 4, after: (*kitchen).aliceIsOut},
	} {
		t.Run(job.section, func(t *testing.T) {
			k := newKitchen(t)
			lines := cookbookLines(t, job.section, job.blocks)
			for _, line := range lines {
				k.give(line[1], line[2])
			}
			if k.answers == 0 {
				t.Errorf("nobody reached the service: %q", lines)
			}
			if job.after != nil {
				job.after(k)
			}
		})
	}
}

var cookbookLine = regexp.MustCompile(`^    ([a-z]+)\$ +(.+)$`)

// cookbookLines are the lines with a prompt in the first blocks of a section: machine and command.
func cookbookLines(t *testing.T, section string, blocks int) (all [][]string) {
	t.Helper()
	page, err := os.ReadFile(cookbook)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %q", cookbook, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	inBlock := false
	for line := range strings.Lines(text) {
		found := cookbookLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if found == nil {
			inBlock = false
			continue
		}
		if !inBlock {
			blocks--
			inBlock = true
		}
		if blocks < 0 {
			break
		}
		all = append(all, found)
	}
	if blocks > 0 {
		t.Fatalf("%q has %d blocks too few", section, blocks)
	}
	return all
}

// kitchen is where a job is done.
type kitchen struct {
	t           *testing.T
	machines    map[string]person
	tools       string            // the folder of the stand-ins
	identifiers map[string]string // by what stands behind I…
	places      map[string]string // what stands for addresses in the page, here
	environment []string
	outlet      *process
	answers     int // of the service
}

func newKitchen(t *testing.T) *kitchen {
	k := &kitchen{
		t: t, machines: make(map[string]person), tools: t.TempDir(),
		identifiers: make(map[string]string), places: make(map[string]string),
	}
	for name, script := range map[string]string{
		"psql": `echo hello | talk "$2:$4"`,
		"ssh":  `echo hello | sh -c "${2#ProxyCommand=}"`,
	} {
		path := filepath.Join(k.tools, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	service, err := net.Listen("tcp", anywhere)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Close() })
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	for _, target := range []string{"127.0.0.1:5432", "127.0.0.1:22"} {
		k.places["--target "+target] = "--target " + service.Addr().String()
	}
	k.places["--listen :4000"] = "--listen " + anywhere
	k.places["--listen 127.0.0.1:5432"] = "--listen " + anywhere
	return k
}

// at returns who gives commands on a machine. What is one person's has the same home.
func (k *kitchen) at(machine string) person {
	k.t.Helper()
	if slices.Contains([]string{"client", "server", "home"}, machine) {
		machine = "me"
	}
	p, ok := k.machines[machine]
	if !ok {
		p = newPerson(k.t)
		p.file("denied", "")
		k.machines[machine] = p
	}
	return p
}

var identifierInPage = regexp.MustCompile(`I…[a-z]+`)

// here returns a command of the page as it is given here.
func (k *kitchen) here(command string) string {
	command = identifierInPage.ReplaceAllStringFunc(command, func(text string) string {
		who := strings.TrimPrefix(text, "I…")
		if k.identifiers[who] == "" {
			k.identifiers[who] = k.at(who).identifier()
		}
		return k.identifiers[who]
	})
	for _, there := range slices.Sorted(maps.Keys(k.places)) {
		command = strings.ReplaceAll(command, there, k.places[there])
	}
	return command
}

var (
	isRole = regexp.MustCompile(`^sp (relay|outlet|inlet) `)
	isMade = regexp.MustCompile(`^sp identity create (\w+)\.key$`)
)

// give gives a command of the page on a machine, and waits until it is ready if it is a role, and
// otherwise until it has ended well.
func (k *kitchen) give(machine, command string) {
	k.t.Helper()
	cmd := k.command(machine, command)
	if is := isRole.FindStringSubmatch(command); is != nil {
		p := start(k.t, cmd)
		line := p.ready()
		switch is[1] {
		case "outlet":
			k.outlet = p
		case "relay":
			k.places["relay.example.com:4000"] = line
		case "inlet":
			host, port, _ := net.SplitHostPort(line)
			k.places["-h 127.0.0.1 -p 5432"] = "-h " + host + " -p " + port
		}
		return
	}
	cmd.Stderr = nil
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("%s$ %s: %v\n%s", machine, command, err, out)
	}
	said := strings.TrimSpace(string(out))
	made := isMade.FindStringSubmatch(command)
	switch {
	case made != nil:
		k.identifiers[made[1]] = said
	case strings.HasPrefix(command, "base64 "):
		k.environment = append(k.environment, "KEY="+said)
	case strings.Contains(command, "credential issue"):
		k.hand(machine, command[strings.LastIndex(command, ">")+1:])
	case said == "you said: hello":
		k.answers++
	case said != "" && !strings.Contains(command, "credential revoke"): // which prints the number
		k.t.Errorf("%s$ %s printed %q", machine, command, said)
	}
}

// command is a command of the page, for a shell on a machine.
func (k *kitchen) command(machine, command string) *exec.Cmd {
	p := k.at(machine)
	cmd := p.program("sh", "-c", "PATH="+k.tools+":$PATH; "+k.here(command))
	if isRole.MatchString(command) {
		cmd = p.program("sh", "-c", "exec "+k.here(command))
	}
	cmd.Dir = p.home
	cmd.Env = append(cmd.Env, k.environment...)
	return cmd
}

// hand gives everybody a file that somebody has made.
func (k *kitchen) hand(from, name string) {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join(k.machines[from].home, name))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, machine := range []string{"relay", "db", "alice"} {
		k.at(machine).file(name, string(text))
	}
}

// aliceIsOut waits until the outlet refuses somebody whose credential has been revoked.
func (k *kitchen) aliceIsOut() {
	k.t.Helper()
	k.outlet.says(k.identifiers["alice"] + " is not trusted: credential 1: revoked")
}
