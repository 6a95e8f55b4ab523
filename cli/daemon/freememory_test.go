package daemon

import (
	"testing"
	"time"
)

// Garbage is collected each time that there are an eighth more sessions, and some: not for a few of
// them, and again when as many come as have gone.
func TestCrowd(t *testing.T) {
	var c crowd
	for _, step := range []struct {
		now  int64
		want bool
	}{
		{0, false},
		{64, false},
		{65, true},
		{66, false},
		{137, false},
		{138, true},
		{138, false},
		{1000, true},
		{1189, false},
		{1190, true},
		{1000, false},
		{1190, true},
		{0, false},
		{65, true},
	} {
		if c.grows(step.now) != step.want {
			t.Errorf("with %d sessions: %v", step.now, !step.want)
		}
	}
}

// Of several daemons in a process one frees memory, and the others find that done.
func TestGarbageOfAll(t *testing.T) {
	var g garbage
	asked := time.Now()
	if !g.free(asked) || g.free(asked) || !g.free(g.freed.Add(1)) {
		t.Error("memory is not freed once for all who have asked before")
	}
	if !g.collect(crowdLeast+1) || g.collect(crowdLeast+1) {
		t.Error("garbage of a crowd is not collected once")
	}
}
