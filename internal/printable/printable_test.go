package printable

import "testing"

func TestIs(t *testing.T) {
	for _, good := range []string{"", "a b", "Jürgen 数", "~", "\u00a0", "\u200a", "\u2010", "\u2070"} {
		if !Is(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"\n", "\t", "\x00", "\x1b[2J", "\x7f", "\u0080", "\u009b", "\xff", "a\xc3",
		"\u200b", "\u200f", "\u2028", "\u202e", "\u2060", "\u2066", "\u206f", "\ufeff",
	} {
		if Is(bad) {
			t.Errorf("%q passes", bad)
		}
	}
}
