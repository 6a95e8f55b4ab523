package daemon

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
)

// TestCheckTime has a credential that is not valid now say so, and what the clock shows.
func TestCheckTime(t *testing.T) {
	begins := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	authority, err := identity.New(rand.Reader, begins)
	if err != nil {
		t.Fatal(err)
	}
	c, err := authority.Issue(rand.Reader, identity.Claims{
		Subject: authority.Identifier(), NotBefore: begins, Expires: begins.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		now  time.Time
		want error
	}{
		{begins.Add(-24 * time.Hour), identity.ErrNotYetValid},
		{begins, nil},
		{begins.Add(time.Hour - time.Second), nil},
		{begins.Add(time.Hour), identity.ErrExpired},
		{begins.Add(25 * time.Hour), identity.ErrExpired},
	} {
		err := CheckTime(c, test.now)
		if !errors.Is(err, test.want) {
			t.Errorf("at %v: %v, want %v", test.now, err, test.want)
		}
		if err != nil && !strings.Contains(err.Error(), "shows "+test.now.Format(time.RFC3339)) {
			t.Errorf("it does not say what the clock shows: %v", err)
		}
	}
}

// TestCheckSpace says nothing of a disk with room, of what has no size, and of what is not there.
func TestCheckSpace(t *testing.T) {
	folder := t.TempDir()
	if all := CheckSpace([]string{"/proc", folder, filepath.Join(folder, "a", "b")}); all != nil {
		t.Errorf("got %v", all)
	}
	whom := config.Trust{Seen: "/s/seen", AllowFiles: []string{"/a/f"}}
	n := config.Node{Identity: "/k/key", Trust: whom}
	if all, err := WritesIn(n); err != nil || strings.Join(all, " ") != "/k /s /a" {
		t.Errorf("got %q, %v", all, err)
	}
}
