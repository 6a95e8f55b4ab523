package trust

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/secureportal/sp/identity"
)

// An allow or deny file names one identity a line: its Identifier, and after white space
// anything. Empty lines, and lines that begin with #, are passed over.

// parseList returns the identities in a list and the line on which each is first named.
// The error names the line.
func parseList(text string) (map[identity.Identifier]int, error) {
	ids := make(map[identity.Identifier]int)
	number := 0
	for line := range strings.Lines(text) {
		number++
		id, ok, err := parseListLine(line)
		if err != nil {
			return nil, &lineError{number, err}
		}
		if _, dup := ids[id]; ok && !dup {
			ids[id] = number
		}
	}
	return ids, nil
}

func parseListLine(line string) (id identity.Identifier, ok bool, err error) {
	if len(line) > MaxListLine {
		return id, false, fmt.Errorf("line has %d bytes, at most %d are allowed",
			len(line), MaxListLine)
	}
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return id, false, errors.New("not text")
	}
	line = strings.Trim(line, " \t\r\n")
	if line == "" || line[0] == '#' {
		return id, false, nil
	}
	word := line
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		word = line[:i]
	}
	id, err = identity.ParseIdentifier(word)
	return id, err == nil, err
}

// lineError says on which line of a file something is wrong.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// listLine returns what to append to a list that has the contents before.
func listLine(before []byte, id identity.Identifier, comment string) []byte {
	var line []byte
	if len(before) > 0 && before[len(before)-1] != '\n' {
		line = append(line, '\n')
	}
	line = append(line, id.String()...)
	if comment != "" {
		line = append(append(line, ' '), comment...)
	}
	return append(line, '\n')
}
