//go:build unix

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRotation refuses keys that were given up, and histories that went another way.
func TestRotation(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest := newPerson(t)
		id := guest.identifier()
		key := filepath.Join(guest.home, ".config", "sp", "identity")
		old, fork := filepath.Join(guest.home, "old"), filepath.Join(guest.home, "fork")
		copyFile(t, key, old)
		copyFile(t, key, fork)
		if got := guest.must("identity", "rotate"); got != id {
			t.Fatalf("the Identifier was %s and is %s", id, got)
		}
		guest.must("identity", "rotate", fork)
		if lines := strings.Count(guest.must("identity", "show", "--full"), "\n"); lines != 2 {
			t.Errorf("the history has %d lines, want one for each key", lines)
		}
		d := newDoor(t, through, "--allow", id)
		d.admits(guest, "--identity", old) // nobody has seen the new one
		d.admits(guest)
		d.refuses(guest, "its history is older than one seen before: it has 1 of 2 changes",
			"--identity", old)
		d.refuses(guest, "its history contradicts one seen before", "--identity", fork)
		d.admits(guest)
		d.outlet.kill()
		d.beginOutlet() // what was seen is on the disk
		d.refuses(guest, "its history is older than one seen before", "--identity", old)
		d.refuses(guest, "its history contradicts one seen before", "--identity", fork)
		d.admits(guest)
	})
}

// TestRotationOfOneself keeps a key that was given up out of one's own outlet, which has not met
// anybody yet.
func TestRotationOfOneself(t *testing.T) {
	t.Parallel()
	me, thief := newPerson(t), newPerson(t)
	me.identifier() // is made
	key := filepath.Join(me.home, ".config", "sp", "identity")
	stolen := filepath.Join(thief.home, "stolen")
	copyFile(t, key, stolen)
	me.must("identity", "rotate")
	d := newTopology(t, plan{who: me})
	d.refuses(thief, "its history is older than one seen before", "--identity", stolen)
	d.admits(me)
	copyFile(t, stolen, key) // a copy that was forgotten somewhere
	me.start(d.inletArgs()...).says("take the identity file from where it was rotated")
}

// TestRotationWhileRunning gives an outlet a new key in the middle of a transfer.
func TestRotationWhileRunning(t *testing.T) {
	t.Parallel()
	guest := newPerson(t)
	d := newDoor(t, false, "--allow", guest.identifier())
	old := d.home + "/old"
	copyFile(t, d.home+"/.config/sp/identity", old)
	d.admits(guest)
	f := d.transfer()
	d.must("identity", "rotate")
	d.outlet.says("the identity has a new key")
	for seen := ""; !strings.Contains(seen, d.identifier()); { // the running inlet learns of it
		f.goesOn(time.Now().Add(10 * time.Millisecond))
		b, _ := os.ReadFile(guest.home + "/.local/state/sp/seen")
		seen = string(b)
	}
	d.admits(guest)
	f.goesOn(time.Now())
	d.outlet.kill()
	d.plan.outlet = append(d.plan.outlet, "--identity", old)
	d.beginOutlet()
	r := guest.run(d.inletArgs("--no-wait")...)
	if r.code != notTrusted || !strings.Contains(r.stderr,
		"its history is older than one seen before") {
		t.Errorf("the outlet with the old key: %+v", r)
	}
}
