//go:build unix

package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// TestLogConnections has a line for each connection, which says who, by which way, how much, how
// long and how it ended, or for those only that failed, or for none.
func TestLogConnections(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{
		relay: true, flags: []string{"--log-connections", "all"}, inlets: 1,
	})
	client, target := w.open()
	send(t, client, "question")
	receives(t, target, "question")
	send(t, target, "the answer")
	receives(t, client, "the answer")
	halfClose(t, client)
	halfClose(t, target)
	receivesEnd(t, client)
	receivesEnd(t, target)
	who := "identifier=" + w.identifier() + " name=db"
	from := client.LocalAddr().String()
	w.inlet.says(`level=INFO msg="connection ended" client=` + from + " " + who + " path=/ip4/")
	w.inlet.says(`received=8 sent=10 lasted=`)
	w.inlet.says(`ended="in order"`)
	w.outlet.says(`msg="connection ended" target=` + w.targetAt + " " + who + " source=")
	w.outlet.says(`received=10 sent=8 lasted=`)

	client, target = w.open()
	reset(t, client)
	receivesReset(t, target)
	w.inlet.says(`ended="reset on this side"`)
	w.outlet.says(`ended="reset by the far end"`)
	w.inlet.stop() // its links to the relay carry one connection after another
	w.relay.says(`level=INFO msg="passed on" source=127.0.0.1:`)
}

// TestLogConnectionsNone has no line for connections, not even for those that fail, and by default
// one for those.
func TestLogConnectionsNone(t *testing.T) {
	t.Parallel()
	for which, lines := range map[string]int{"none": 0, "failed": 1} {
		u := newPerson(t)
		u.fails(2, "--log-connections", "relay", "--listen", anywhere, "--log-connections", "some")
		_, at := u.startOutlet(testkit.Address(t))
		inlet := u.start("inlet", "--listen", anywhere, "--to", at, "--log-connections", which)
		isRefused(t, inlet.ready())
		inlet.stop()
		inlet.ends(0)
		if got := inlet.said("the target refused"); got != lines {
			t.Errorf("%s: %d lines, want %d:\n%s", which, got, lines, inlet.stderr.String())
		}
	}
}

// TestLogFile has the log be in a file, which is opened anew on SIGUSR1, by a process that has
// confined itself.
func TestLogFile(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	folder := filepath.Join(u.home, "log")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "sp.log")
	p := u.start(append([]string{
		"outlet", "--listen", anywhere, "--target", "127.0.0.1:1", "--log-file", path,
	}, confined...)...)
	p.ready()
	has := func(path, text string) {
		t.Helper()
		testkit.Eventually(t, text, func() bool {
			b, _ := os.ReadFile(path)
			return strings.Contains(string(b), text)
		})
	}
	has(path, "msg=confined")
	for _, old := range []string{path + ".1", path + ".2"} {
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGUSR1)
		testkit.Eventually(t, "a new file", func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
		// The new file is there a moment before the log goes to it.
		testkit.Eventually(t, "lines in the new file", func() bool {
			p.signal(syscall.SIGHUP)
			b, _ := os.ReadFile(path)
			return strings.Contains(string(b), "reading all files again")
		})
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	p.stop()
	p.ends(0)
	has(path, "stopping")
	if said := p.stderr.String(); said != "" {
		t.Errorf("on stderr: %s", said)
	}
	nowhere := filepath.Join(folder, "no", "x")
	u.fails(1, "log file", "relay", "--listen", anywhere, "--log-file", nowhere)
	other, _ := u.startRelay()
	other.signal(syscall.SIGUSR1) // is none of its business
	other.signal(syscall.SIGTERM)
	other.ends(0)
}
