package config

import (
	"errors"
	"fmt"
	"regexp"
)

// FieldError says which field of a configuration is wrong, why, and what to do.
//
// A field goes by one name everywhere: "max-per-source" is the flag --max-per-source, the
// environment variable SP_MAX_PER_SOURCE, and what a file would call it.
type FieldError struct {
	Field  string // its name, in lower case with hyphens
	Portal string // which portal it is a field of, like "outlet db"; empty for the node

	format string // for fmt.Errorf, with each field that it names in braces
	args   []any
}

func fieldError(field, format string, args ...any) error {
	return &FieldError{Field: field, format: format, args: args}
}

// Error calls fields by their plain names.
func (e *FieldError) Error() string {
	text := e.Describe(func(field string) string { return field })
	if e.Portal != "" {
		return e.Portal + ": " + text
	}
	return text
}

var fieldInBraces = regexp.MustCompile(`\{([a-z0-9-]+)\}`)

// Describe is Error for somebody who writes fields in another way: name says how. It leaves out
// the portal.
func (e *FieldError) Describe(name func(field string) string) string {
	format := fieldInBraces.ReplaceAllStringFunc(e.format, func(braced string) string {
		return name(braced[1 : len(braced)-1])
	})
	return fmt.Errorf(format, e.args...).Error()
}

// Unwrap returns what the value was found to be by the package that reads it, or nil.
func (e *FieldError) Unwrap() error { return errors.Unwrap(fmt.Errorf(e.format, e.args...)) }
