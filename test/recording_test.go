//go:build unix

package test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

const (
	recordingScript = "../docs/recording.txt"
	recordingFile   = "../docs/recording.svg"
	recordingSize   = 60 << 10 // at most, in bytes
)

var record = flag.String("record", "", "a file for the recording of docs/recording.txt")

// said is a line in a terminal: a command that was typed there, or what was printed.
type said struct {
	machine string
	command bool
	text    string
}

// TestRecording runs docs/recording.txt and compares what is printed with what the README's
// recording shows. Identifiers, addresses and ports are put as the script has them. With -record it
// draws the recording anew.
func TestRecording(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	for _, line := range recordingLines(t) {
		s.do(line)
	}
	if *record != "" {
		if err := os.WriteFile(*record, drawRecording(s.all), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	shown := readRecording(t)
	for _, machine := range recordingMachines {
		got, want := onMachine(shown, machine), onMachine(s.all, machine)
		if !slices.Equal(got, want) {
			t.Errorf("%s shows\n%q\non the %s, and this is\n%q\nSee %s.", recordingFile, got, machine,
				want, recordingScript)
		}
	}
}

// onMachine is what was said on a machine. A busy one may lose its way more than once: what the log
// says of that counts once.
func onMachine(all []said, machine string) (lines []string) {
	for _, s := range all {
		line := s.text
		if s.command {
			line = "$ " + line
		}
		if s.machine == machine && !(strings.HasPrefix(line, "connections ") &&
			slices.Contains(lines, line)) {
			lines = append(lines, line)
		}
	}
	return lines
}

// recordingLines are the lines of the script.
func recordingLines(t *testing.T) (all []string) {
	t.Helper()
	script, err := os.ReadFile(recordingScript)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(script)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// studio is where a recording is made: three machines, two of which are one person's, and a service
// that ticks.
type studio struct {
	t       *testing.T
	people  map[string]person
	running map[string]*process // the role on a machine
	here    *strings.Replacer   // has a command of the script done here
	there   *strings.Replacer   // has what is printed here be as the script has it
	service net.Listener
	client  net.Conn // the service's
	ticks   int
	all     []said
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	me := survivor(t)
	s := &studio{
		t: t, running: make(map[string]*process),
		people: map[string]person{"relay": me.another(), "server": me, "client": me},
	}
	var err error
	if s.service, err = net.Listen("tcp", anywhere); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.service.Close() })
	relay := testkit.Address(t)
	port := relay[strings.LastIndex(relay, ":")+1:]
	target, identifier := s.service.Addr().String(), me.identifier()
	s.here = strings.NewReplacer("--listen :4000", "--listen "+relay,
		"relay.example.com:4000", "localhost:"+port, "127.0.0.1:9000", target, "I…server", identifier)
	s.there = strings.NewReplacer(relay, "[::]:4000", "/localhost/tcp/"+port,
		"/relay.example.com/tcp/4000", target, "127.0.0.1:9000", identifier, "I…server")
	return s
}

// do does what a line of the script says.
func (s *studio) do(line string) {
	s.t.Helper()
	machine, command, typed := strings.Cut(line, "$ ")
	count, ticks := strings.CutPrefix(line, "ticks ")
	switch {
	case typed:
		s.all = append(s.all, said{machine, true, command})
		s.give(machine, command)
	case ticks:
		n, err := strconv.Atoi(count)
		if err != nil {
			s.t.Fatal(err)
		}
		for range n {
			s.tick()
		}
	case line == "end":
		_ = s.client.Close()
		s.running["client"].ends(done)
	default:
		s.t.Fatalf("%s: what is %q?", recordingScript, line)
	}
}

// give gives a command on a machine.
func (s *studio) give(machine, command string) {
	s.t.Helper()
	switch words := strings.Fields(command); {
	case command == "kill -9 %1":
		s.running[machine].kill()
	case words[0] == "sp":
		p := start(s.t, s.command(machine, "exec "+strings.TrimSuffix(command, " &")))
		s.running[machine] = p
		if machine != "client" {
			s.prints(machine, p.ready())
			return
		}
		var err error
		if s.client, err = s.service.Accept(); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = s.client.Close() })
	default:
		for line := range strings.Lines(string(must(s.t, s.command(machine, command)))) {
			s.prints(machine, strings.TrimSpace(line))
		}
	}
}

func (s *studio) command(machine, command string) *exec.Cmd {
	s.t.Helper()
	p := s.people[machine]
	cmd := p.program("sh", "-c", s.here.Replace(command))
	cmd.Dir = filepath.Join(p.home, machine)
	if err := os.MkdirAll(cmd.Dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	return cmd
}

func (s *studio) prints(machine, line string) {
	s.all = append(s.all, said{machine, false, s.there.Replace(line)})
}

// tick has the service say a line, and waits until the client has printed it.
func (s *studio) tick() {
	s.t.Helper()
	s.ticks++
	line := fmt.Sprintf("tick %d", s.ticks)
	if _, err := io.WriteString(s.client, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
	p := s.running["client"]
	shown := func(all string) bool { return strings.HasSuffix(all, line+"\n") }
	if err := p.await(&p.stdout, shown); err != nil {
		s.t.Fatal(err)
	}
	s.prints("client", line)
}

// readRecording is what the recording shows. It checks that it is fit for a README: small, without
// anything from elsewhere, for light and dark, and still where somebody wants that.
func readRecording(t *testing.T) (all []said) {
	t.Helper()
	picture, err := os.ReadFile(recordingFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(picture)
	if len(text) > recordingSize {
		t.Errorf("it has %d bytes", len(text))
	}
	for _, want := range []string{"prefers-color-scheme: dark", "prefers-reduced-motion"} {
		if !strings.Contains(text, want) {
			t.Errorf("it has no %s", want)
		}
	}
	rest := strings.Replace(text, `xmlns="http://www.w3.org/2000/svg"`, "", 1)
	for _, wrong := range []string{"http", "url(", "href", "<script", "@import"} {
		if strings.Contains(rest, wrong) {
			t.Errorf("it has %s", wrong)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	machine, kind := "", ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			for _, a := range token.Attr {
				if token.Name.Local == "g" && a.Name.Local == "id" {
					machine = a.Value
				}
				if token.Name.Local == "text" && a.Name.Local == "class" {
					kind = strings.Fields(a.Value)[0]
					if kind == drawnCommand || kind == drawnOutput {
						all = append(all, said{machine: machine, command: kind == drawnCommand})
					}
				}
			}
		case xml.EndElement:
			if token.Name.Local == "text" {
				kind = ""
			}
		case xml.CharData:
			if kind == drawnCommand || kind == drawnOutput || kind == drawnMore {
				last := &all[len(all)-1]
				last.text = strings.TrimPrefix(last.text+string(token), machine+"$ ")
			}
		}
	}
}
