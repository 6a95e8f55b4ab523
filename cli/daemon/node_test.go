package daemon

import (
	"errors"
	"io/fs"
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

// TestTicketLeadsHere tells the outlets of a node from others that have the same identity.
func TestTicketLeadsHere(t *testing.T) {
	listens := config.Outlet{Entrance: config.Entrance{Listen: ":7000"}}
	named := config.Outlet{Entrance: config.Entrance{Relays: []string{"relay:4000"}, Name: "db"}}
	both := config.Outlet{Entrance: config.Entrance{Listen: ":7000", Name: "pay"}}
	several := config.Outlet{
		Entrance: config.Entrance{Listen: ":7000", Name: "x"}, Targets: []string{"a=:1,b=:2"},
	}
	for name, row := range map[string]struct {
		outlets []config.Outlet
		route   string
		want    string // in the error; empty: it leads here
	}{
		"to one that listens": {[]config.Outlet{listens}, "host:7000", ""},
		"to a name":           {[]config.Outlet{named}, "db@relay:4000", ""},
		"to one of two":       {[]config.Outlet{listens, named}, "db@relay:4000", ""},
		"to the other":        {[]config.Outlet{named, listens}, "host:7000", ""},
		"to another name":     {[]config.Outlet{named}, "web@relay:4000", "the name web"},
		"without a name":      {[]config.Outlet{named, both}, "host:7000", "without a name"},
		"to a name there":     {[]config.Outlet{both}, "pay@host:7000", ""},
		"to another there":    {[]config.Outlet{both, listens}, "web@host:7000", "the name web"},
		"to a target":         {[]config.Outlet{several}, "b.x@host:7000", ""},
		"to all targets":      {[]config.Outlet{several}, "x@host:7000", "the name x"},
		"to no target":        {[]config.Outlet{several}, "host:7000", "without a name"},
		"to nobody":           {nil, "host:7000", "without a name"},
		"to nowhere":          {[]config.Outlet{listens}, "/service/outlet", "nowhere"},
		"no route":            {[]config.Outlet{listens}, "host", "not a route"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{}
			s.outlets.Store(&row.outlets)
			err := s.leadsHere(row.route)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// TestProblems has errors say what kind of thing went wrong, and keep what they were.
func TestProblems(t *testing.T) {
	home := t.TempDir()
	nowhere := filepath.Join(home, "nowhere", "key")
	for want, n := range map[Problem]config.Node{
		NoFolder: {Identity: nowhere},
		NoListFile: {
			Identity: filepath.Join(home, "key"), Trust: config.Trust{AllowFiles: []string{nowhere}},
		},
	} {
		n.Trust.Seen = filepath.Join(home, "seen")
		_, err := OpenNode(n, Options{Logger: slog.New(slog.DiscardHandler)})
		var problem *Error
		if !errors.As(err, &problem) || problem.Problem != want || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want problem %d", err, want)
		}
	}
}

// TestReload reads an allow file at once, and the key that was rotated.
func TestReload(t *testing.T) {
	l := newLab(t)
	list := filepath.Join(filepath.Dir(l.node.Identity), "allow")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.node.Trust.AllowFiles = []string{list}
	l.start(t, config.Config{})
	changed := l.current().main.policy.Changed()
	peer := testkit.NewIdentity(t).Identifier()
	if err := os.WriteFile(list, []byte(peer.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := identity.Load(l.node.Identity)
	if err != nil {
		t.Fatal(err)
	}
	if self, err = self.Rotate(nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := self.Save(l.node.Identity, true); err != nil {
		t.Fatal(err)
	}
	l.Reload()
	select {
	case <-changed:
	default:
		t.Error("the list was not read")
	}
	if n := l.current().presented.identity().History().Len(); n != 2 {
		t.Errorf("the node has %d keys in its history", n)
	}
}

// TestKeys has equal parts of configurations be equal, however they came about.
func TestKeys(t *testing.T) {
	a := config.Outlet{Target: ":1", Entrance: config.Entrance{Relays: []string{"a b"}}}
	b := config.Outlet{Target: ":1", Entrance: config.Entrance{Relays: []string{"a", "b"}}}
	if keyOf("", a) == keyOf("", b) {
		t.Error("two relays are taken for one")
	}
	b = a
	b.RelayIdentities = []string{}
	if keyOf("", a) != keyOf("", b) {
		t.Error("no identities are taken for other ones")
	}
	m, n := config.Node{Drain: time.Second}, config.Node{}
	if !sameNode(m, n) {
		t.Error("another time to drain is taken for another node")
	}
	n.Limits.Connections = 1
	if sameNode(m, n) {
		t.Error("other limits are taken for the same node")
	}
}
