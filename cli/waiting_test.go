package cli

import (
	"testing"
	"time"

	"github.com/secureportal/sp/cli/daemon"
)

func TestWaitingText(t *testing.T) {
	db := daemon.OpenConnection{
		To: "db@relay:4000", Open: time.Hour, Idle: 3 * time.Minute, IdleKnown: true,
	}
	socket := daemon.OpenConnection{To: "unix:db.sock", Open: 100 * time.Hour}
	for want, on := range map[string]daemon.Waiting{
		"": {For: time.Second},
		"waiting up to 30 s for 1 connection (db@relay:4000, idle 3 min); again to cut it": {
			For: 30 * time.Second, Open: []daemon.OpenConnection{db},
		},
		"waiting up to 2 min for 2 connections (db@relay:4000, idle 3 min; unix:db.sock, open for " +
			"100 h); again to cut them": {
			For: 2 * time.Minute, Open: []daemon.OpenConnection{db, socket},
		},
		"waiting up to 1 s for 5 connections (db@relay:4000, idle 3 min; db@relay:4000, idle 3 min; " +
			"db@relay:4000, idle 3 min; and 2 more); again to cut them": {
			For: time.Second, Open: []daemon.OpenConnection{db, db, db, db}, Passing: 1,
		},
		"waiting up to 1 s for 1 connection; again to cut it": {For: time.Second, Passing: 1},
	} {
		if got := waitingText(on); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := waitingText(daemon.Waiting{Passing: 1}); got != "" {
		t.Errorf("nothing is waited for, and it says %q", got)
	}
}
