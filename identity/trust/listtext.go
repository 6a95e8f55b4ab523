package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/secureportal/sp/identity"
)

// An allow or deny file names one identity a line: its Identifier, and after white space
// anything. A line of a deny file may name a credential instead, by its serial number. Empty
// lines, and lines that begin with #, are passed over.

// Serial is the serial number of a credential.
type Serial = [16]byte

// named is what a list names, and the line on which each is first named.
type named struct {
	ids     map[identity.Identifier]int
	serials map[Serial]int // of a deny file
}

// exceeds reports whether n names somebody, or a credential, that other does not.
func (n named) exceeds(other named) bool {
	return !within(n.ids, other.ids) || !within(n.serials, other.serials)
}

// and returns what n names and, on the lines on which that does, what other names.
func (n named) and(other named) named {
	return named{joined(n.ids, other.ids), joined(n.serials, other.serials)}
}

func within[K comparable](some, all map[K]int) bool {
	for key := range some {
		if _, ok := all[key]; !ok {
			return false
		}
	}
	return true
}

func joined[K comparable](first, second map[K]int) map[K]int {
	all := maps.Clone(second)
	if all == nil {
		all = make(map[K]int)
	}
	maps.Copy(all, first)
	return all
}

// parseList returns the identities in an allow file. The error names the line.
func parseList(text string) (map[identity.Identifier]int, error) {
	all, err := parseLines(text, false)
	return all.ids, err
}

// parseLines returns what a list names, serial numbers too if it may. The error names the line.
func parseLines(text string, serials bool) (named, error) {
	all := named{make(map[identity.Identifier]int), make(map[Serial]int)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		word, err := listWord(line)
		if word == "" && err == nil {
			continue
		}
		if serial, ok := parseSerial(word); ok && serials {
			note(all.serials, serial, number)
			continue
		}
		var id identity.Identifier
		if err == nil {
			id, err = identity.ParseIdentifier(word)
		}
		if err != nil {
			return named{}, &lineError{number, err}
		}
		note(all.ids, id, number)
	}
	return all, nil
}

func note[K comparable](all map[K]int, key K, line int) {
	if _, twice := all[key]; !twice {
		all[key] = line
	}
}

// listWord returns what a line names, or "" if it names nothing.
func listWord(line string) (string, error) {
	if len(line) > MaxListLine {
		return "", fmt.Errorf("line has %d bytes, at most %d are allowed", len(line), MaxListLine)
	}
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return "", errors.New("not text")
	}
	line = strings.Trim(line, " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", nil
	}
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		line = line[:i]
	}
	return line, nil
}

// ParseSerial reads a credential's serial number: 32 hexadecimal digits, in lower case.
func ParseSerial(text string) (Serial, error) {
	serial, ok := parseSerial(text)
	if !ok {
		return serial, errors.New("a serial number is 32 lower-case hexadecimal digits")
	}
	return serial, nil
}

func parseSerial(word string) (serial Serial, ok bool) {
	if len(word) != hex.EncodedLen(len(serial)) || strings.ToLower(word) != word {
		return serial, false
	}
	_, err := hex.Decode(serial[:], []byte(word))
	return serial, err == nil
}

// lineError says on which line of a file something is wrong.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// listLine returns what to append to a list that has the contents before.
func listLine(before []byte, name, comment string) []byte {
	var line []byte
	if len(before) > 0 && before[len(before)-1] != '\n' {
		line = append(line, '\n')
	}
	line = append(line, name...)
	if comment != "" {
		line = append(append(line, ' '), comment...)
	}
	return append(line, '\n')
}
