package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
)

// triedOut returns what the log says of a configuration at its start.
func triedOut(t *testing.T, change func(home string, c *config.Config)) (string, error) {
	t.Helper()
	home := t.TempDir()
	c := config.Config{
		Node: config.Node{Identity: filepath.Join(home, "key"), Drain: config.NoDrain},
		Outlets: []config.Outlet{{
			Entrance: config.Entrance{Listen: "127.0.0.1:0"}, Target: "127.0.0.1:1",
		}},
	}
	c.Node.Trust.Seen = filepath.Join(home, "seen")
	change(home, &c)
	var log bytes.Buffer
	d, err := Start(t.Context(), c, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err == nil {
		_ = d.Close()
	}
	return log.String(), err
}

// relayAlone has the process be a relay and nothing else.
func relayAlone(c *config.Config) {
	c.Outlets, c.Relays = nil, []config.Relay{{Entrance: config.Entrance{Listen: "127.0.0.1:0"}}}
}

// TestTryOut has what is needed later be tried at the start, and said.
func TestTryOut(t *testing.T) {
	stranger := testkit.NewIdentity(t).Identifier().String()
	list := func(home string, c *config.Config) string {
		path := filepath.Join(home, "allow")
		if err := os.WriteFile(path, []byte(stranger+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Node.Trust.AllowFiles = []string{path}
		return path
	}
	for name, row := range map[string]struct {
		says   string // in the log; empty: nothing is wrong
		change func(home string, c *config.Config)
	}{
		"all is well": {"", func(string, *config.Config) {}},
		"no place for those that are spent": {"no ticket can be redeemed", func(
			home string, c *config.Config,
		) {
			if err := os.WriteFile(list(home, c)+".spent", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		"a list without oneself": {"own identity is not in what it allows", func(
			home string, c *config.Config,
		) {
			list(home, c)
		}},
		"a friend only": {"own identity is not in what it allows", func(_ string, c *config.Config) {
			c.Node.Trust.Allow = []string{stranger}
		}},
		"a relay for a friend only": {"own identity is not in what it allows", func(
			_ string, c *config.Config,
		) {
			relayAlone(c)
			c.Node.Trust.Allow = []string{stranger}
		}},
		"a relay for whom an authority names": {"", func(_ string, c *config.Config) {
			relayAlone(c)
			c.Node.Trust.Authorities = []string{stranger}
		}},
		"an outlet for whom an authority names": {"own identity is not in what it allows", func(
			_ string, c *config.Config,
		) {
			c.Node.Trust.Authorities = []string{stranger}
		}},
		"a target that is a file": {"that file is no socket", func(home string, c *config.Config) {
			c.Outlets[0].Target = "unix:" + c.Node.Trust.Seen
			if err := os.WriteFile(c.Node.Trust.Seen, []byte("sp-seen-1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		"a target behind no interface": {"no interface none", func(_ string, c *config.Config) {
			c.Outlets[0].Target = "[fe80::1%none]:1"
		}},
		"a target at port 0": {"nobody listens at port 0", func(_ string, c *config.Config) {
			c.Outlets[0].Target = ":0"
		}},
		"a target that is not there yet": {"", func(home string, c *config.Config) {
			c.Outlets[0].Target = "unix:" + filepath.Join(home, "later")
		}},
		"more connections than files": {"--max-connections 2000000000", func(
			_ string, c *config.Config,
		) {
			c.Node.Limits.Connections = 2_000_000_000
		}},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := triedOut(t, row.change)
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Contains(log, "level=WARN") || strings.Contains(log, "own identity")
			if row.says == "" && said || !strings.Contains(log, row.says) {
				t.Errorf("want %q in\n%s", row.says, log)
			}
		})
	}
}

// TestNoPlaceForKnownHistories treats the ways of having no place alike, where none was named, and
// wants one that was named to do.
func TestNoPlaceForKnownHistories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]string{
		"relative": "relative", "below a file": file, "too long": "/" + strings.Repeat("x", 300),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_STATE_HOME", state)
			log, err := triedOut(t, func(_ string, c *config.Config) { c.Node.Trust.Seen = "" })
			if err != nil || !strings.Contains(log, "name a file with --seen") {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
	for name, seen := range map[string]string{
		"below a file": filepath.Join(file, "seen"), "too long": strings.Repeat("x", 300),
	} {
		_, err := triedOut(t, func(_ string, c *config.Config) { c.Node.Trust.Seen = seen })
		var problem *Error
		if !errors.As(err, &problem) || problem.Problem != NoPlace {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProofThatDoesNotFit has a node say at its start that nobody would reach it, and keep what it
// has when its files change so.
func TestProofThatDoesNotFit(t *testing.T) {
	home := t.TempDir()
	me := testkit.NewIdentity(t)
	key := filepath.Join(home, "key")
	if err := me.Save(key, false); err != nil {
		t.Fatal(err)
	}
	var files []string
	for i := range identity.MaxCredentials {
		path := filepath.Join(home, string(rune('a'+i)))
		if err := os.WriteFile(path, []byte(longCredential(t, me.Identifier())), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	logger := slog.New(slog.DiscardHandler)
	_, err := newPresented(me, key, files, logger)
	var problem *Error
	if !errors.As(err, &problem) || problem.Problem != TooLong {
		t.Fatalf("got %v", err)
	}
	most := files[:0:0]
	for _, file := range files { // as many as fit, at the start
		if _, err := newPresented(me, key, append(most, file), logger); err == nil {
			most = append(most, file)
		}
	}
	p, err := newPresented(me, key, most, logger)
	if err != nil || len(most) == 0 {
		t.Fatalf("%d fit: %v", len(most), err)
	}
	for range identity.MaxChanges - 1 {
		if _, err := identity.RotateFile(key, nil, time.Now(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.readKey(); !errors.As(err, &problem) || problem.Problem != TooLong {
		t.Errorf("got %v", err)
	}
	if p.identity().History().Len() != 1 {
		t.Error("it has taken a key that locks it out")
	}
}

// longCredential is one that says much.
func longCredential(t *testing.T, subject identity.Identifier) string {
	t.Helper()
	attributes := make(map[string]string)
	for i := range 8 {
		attributes[string(rune('a'+i))] = strings.Repeat("x", identity.MaxAttributeValue)
	}
	now := time.Now()
	c, err := testkit.NewIdentity(t).Issue(nil, identity.Claims{
		Subject: subject, Attributes: attributes, NotBefore: now.Add(-time.Hour),
		Expires: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.String()
}
