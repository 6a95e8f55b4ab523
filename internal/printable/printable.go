// Package printable tells text that is safe to show from text that is not.
package printable

import "unicode/utf8"

// Is reports whether s is UTF-8 without anything that controls a terminal or the order in
// which text is shown. The list is written out, and not Unicode's own, so that two
// implementations of the protocol agree on it.
func Is(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f: // C0, DEL, C1
			return false
		case r >= 0x200b && r <= 0x200f: // zero width, marks
			return false
		case r >= 0x2028 && r <= 0x202e: // separators, bidi
			return false
		case r >= 0x2060 && r <= 0x206f, r == 0xfeff: // invisible, isolates, byte order mark
			return false
		}
	}
	return true
}
