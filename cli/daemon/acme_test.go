package daemon

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/testkit"
)

// A relay gets the certificate for its name by itself, shows it, and keeps it for the next start.
// Strangers, and those who ask for other names, do not have it ask for more.
func TestACME(t *testing.T) {
	a := newAuthority(t)
	l := newLab(t)
	folder := filepath.Join(t.TempDir(), "not", "there", "yet")
	l.node.TLSCA = a.file(t)
	l.node.ACME = config.ACME{
		Hosts: []string{"Relay.example"}, Server: a.URL + "/", Folder: folder, Email: "a@b.example",
	}
	relay := config.Config{Relays: []config.Relay{{
		Entrance: config.Entrance{Listen: "tls://127.0.0.1:0"},
	}}}
	l.start(t, relay)
	at := l.listens(t)
	if c := a.shows(t, at, "relay.example"); c != nil {
		t.Error("a certificate that nobody has issued yet")
	}
	a.owners <- at
	var shown *x509.Certificate // handshakes have a rate
	testkit.Eventually(t, "the certificate", func() bool {
		shown = a.shows(t, at, "relay.example")
		return shown != nil
	})
	serial := shown.SerialNumber
	for range 3 {
		if c := a.shows(t, at, "other.example"); c != nil {
			t.Error("a certificate for another name")
		}
	}
	if n := a.asked(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("folder of keys: %v, %v", info, err)
	}

	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l.start(t, relay)
	at = l.listens(t)
	testkit.Eventually(t, "the certificate that was kept", func() bool {
		c := a.shows(t, at, "relay.example")
		return c != nil && c.SerialNumber.Cmp(serial) == 0
	})
	if n := a.asked(); n != 1 {
		t.Errorf("%d orders after the next start, want 1", n)
	}
}

// An authority that refuses leaves the relay as it is but for TLS.
func TestACMERefused(t *testing.T) {
	a := newAuthority(t)
	a.refuses = true
	l := newLab(t)
	l.node.ACME = config.ACME{
		Hosts: []string{"relay.example"}, Server: a.URL + "/", Folder: t.TempDir(),
	}
	l.node.TLSCA = a.file(t)
	l.start(t, config.Config{Relays: []config.Relay{{
		Entrance: config.Entrance{Listen: "tls://127.0.0.1:0", AlsoListen: []string{"127.0.0.1:0"}},
	}}})
	at := l.listens(t)
	testkit.Eventually(t, "a refusal", a.hasRefused)
	if a.shows(t, at, "relay.example") != nil || a.shows(t, at, "") != nil {
		t.Error("a certificate that nobody has issued")
	}
}

// A folder that keys must not be in, or cannot be, is refused at the start.
func TestACMEFolder(t *testing.T) {
	l := newLab(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.node.ACME = config.ACME{
		Hosts: []string{"relay.example"}, Server: "https://127.0.0.1:1/", Folder: file,
	}
	c := config.Config{Node: l.node, Relays: []config.Relay{{
		Entrance: config.Entrance{Listen: "tls://127.0.0.1:0"},
	}}}
	d, err := Start(testkit.Context(t), c, Options{})
	if err == nil {
		_ = d.Close()
		t.Fatal("it starts")
	}
	if !strings.Contains(err.Error(), "folder of TLS certificates") {
		t.Error(err)
	}
}

// listens is the address that the lab's one relay listens at over TLS.
func (l *lab) listens(t *testing.T) string {
	t.Helper()
	at := l.ready(t, RelayKind, "tls://127.0.0.1:0").Address
	return strings.TrimPrefix(at, "tls://")
}
