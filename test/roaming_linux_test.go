package test

import (
	"testing"
	"time"
)

// roamedWithin is when an inlet or an outlet that has got another address is where it was. Missed
// pings would tell after 13 s.
const roamedWithin = 5 * time.Second

// roam has the only address in an outer network be another one.
func roam(t *testing.T, space, network string) {
	t.Helper()
	ip(t, "-n", space, "address", "del", network+".2/24", "dev", "eth")
	ip(t, "-n", space, "address", "add", network+".3/24", "dev", "eth")
}

// laneInUse is a lane with a connection that has carried something.
func laneInUse(t *testing.T) (*lane, conn) {
	t.Helper()
	l := newLane(t, "")
	c := l.dial()
	if err := echoes(c, "before"); err != nil {
		t.Fatal(err)
	}
	return l, c
}

// TestInletRoams gives an inlet another address: it notices, asks whether its session lives before
// the pings would, and makes another one.
func TestInletRoams(t *testing.T) {
	t.Parallel()
	l, c := laneInUse(t)
	defer abandon(c)
	before := l.inlet.said(`msg="session began"`)
	begin := time.Now()
	roam(t, l.networks.near, l.networks.nearNet)
	l.inlet.says(l.networks.nearNet + ".2 is gone")
	l.inlet.says(l.networks.nearNet + ".3 is new")
	t.Logf("noticed after %v", time.Since(begin).Round(time.Millisecond))
	l.inlet.saysAgain(`msg="session began"`, before)
	if took := time.Since(begin); !inTime(begin, roamedWithin) {
		t.Errorf("another session after %v, want %v", took, roamedWithin)
	} else {
		t.Logf("another session after %v", took.Round(time.Millisecond))
	}
	other := l.dial()
	defer abandon(other)
	if err := echoes(other, "after"); err != nil {
		t.Error(err)
	}
}

// TestOutletRoams gives an outlet another address: it claims its name anew before its pings would
// tell it to.
func TestOutletRoams(t *testing.T) {
	t.Parallel()
	l, c := laneInUse(t)
	defer abandon(c)
	before := l.outlet.said("msg=registered")
	begin := time.Now()
	roam(t, l.networks.far, l.networks.farNet)
	l.outlet.says(l.networks.farNet + ".3 is new")
	t.Logf("noticed after %v", time.Since(begin).Round(time.Millisecond))
	l.outlet.saysAgain("msg=registered", before)
	if took := time.Since(begin); !inTime(begin, roamedWithin) {
		t.Errorf("registered after %v, want %v", took, roamedWithin)
	} else {
		t.Logf("registered after %v", took.Round(time.Millisecond))
	}
}

// TestOffline has an inlet's address go and come back, soon: a connection that is open lives, for
// there was nothing to try in between.
func TestOffline(t *testing.T) {
	t.Parallel()
	l, c := laneInUse(t)
	defer abandon(c)
	at := l.networks.nearNet + ".2"
	ip(t, "-n", l.networks.near, "address", "del", at+"/24", "dev", "eth")
	l.inlet.says(at + " is gone")
	ip(t, "-n", l.networks.near, "address", "add", at+"/24", "dev", "eth")
	l.inlet.says(at + " is new")
	if err := echoes(c, "after"); err != nil {
		t.Error(err)
	}
}
