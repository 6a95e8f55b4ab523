package daemon

import "testing"

// TestCanBeReached has a portal be ready when each of its names leads there.
func TestCanBeReached(t *testing.T) {
	for _, row := range []struct {
		open map[string]bool // the empty name is a listener, or whatever is for all
		want bool
	}{
		{nil, true},
		{map[string]bool{"": true}, true},
		{map[string]bool{"": false}, false},
		{map[string]bool{"a": true}, true},
		{map[string]bool{"a": false}, false},
		{map[string]bool{"a": true, "b": false}, false},
		{map[string]bool{"a": true, "b": true}, true},
		{map[string]bool{"": true, "a": false}, true},
		{map[string]bool{"": false, "a": true}, true},
		{map[string]bool{"": false, "a": true, "b": false}, false},
	} {
		if got := canBeReached(row.open); got != row.want {
			t.Errorf("%v: %v, want %v", row.open, got, row.want)
		}
	}
}
