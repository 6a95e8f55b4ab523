package config

import (
	"regexp"
	"strings"
)

// Named is something that goes by a name of its user's: NAME=VALUE.
type Named struct {
	Name  string // a letter, then letters, digits, - and _, at most MaxUserName of them
	Value string // may be empty if there was no =
	Bare  bool   // there was no =
}

// MaxUserName is how many characters a name has at most.
const MaxUserName = 40

var userName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// Variable is the name as the environment has it: in capitals, with _ in place of -.
func (n Named) Variable() string {
	return strings.ToUpper(strings.ReplaceAll(n.Name, "-", "_"))
}

// Names reads what goes by names. Two that are one name in the environment are refused, whichever
// fields they are in. It is for one goroutine.
type Names struct{ taken map[string]string } // from variables to names

// Parse reads what a repeatable field holds, each NAME=VALUE, or a bare NAME where that may be. An
// error is a *FieldError.
func (s *Names) Parse(field string, texts []string, what string, bare bool) ([]Named, error) {
	var all []Named
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		isName := userName.MatchString(name) && len(name) <= MaxUserName
		switch {
		case !ok && !(bare && isName), ok && value == "":
			return nil, fieldError(field, "{"+field+"} %q is not NAME="+what, text)
		case !isName:
			return nil, fieldError(field, "{"+field+"} %q: the name %q is not a letter and up to %d "+
				"more letters, digits, - and _, so no variable can have it", text, name, MaxUserName-1)
		}
		n := Named{Name: name, Value: value, Bare: !ok}
		if before, twice := s.taken[n.Variable()]; twice && before == name {
			return nil, fieldError(field, "{"+field+"} %q: the name %s is given twice", text, name)
		} else if twice {
			return nil, fieldError(field, "{"+field+"} %q: the names %s and %s are one variable",
				text, before, name)
		}
		if s.taken == nil {
			s.taken = make(map[string]string)
		}
		s.taken[n.Variable()] = name
		all = append(all, n)
	}
	return all, nil
}
