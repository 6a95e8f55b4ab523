// Package shellword prints words that can be pasted into a shell.
package shellword

import "strings"

// plain are the bytes, besides letters and digits, that mean nothing to a shell wherever in a word
// they stand.
const plain = "@%+=:,./_-"

// Quote returns word as a shell reads it back: as it is where it can be, or else in single quotes.
func Quote(word string) string {
	if word != "" && strings.IndexFunc(word, isSpecial) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func isSpecial(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune(plain, r)
}

// Join returns words as one command line.
func Join(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = Quote(word)
	}
	return strings.Join(quoted, " ")
}
