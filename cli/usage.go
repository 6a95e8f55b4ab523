package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
)

// errUsage marks an error of the one who called.
var errUsage = errors.New("usage")

// usageError is such an error, with the command whose help helps.
type usageError struct {
	err     error
	command string // empty until it is known
}

func (e *usageError) Error() string        { return e.err.Error() }
func (e *usageError) Unwrap() error        { return e.err }
func (e *usageError) Is(target error) bool { return target == errUsage }

func usage(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// inCommand returns a command's error as its user should see it: of a field of a configuration
// it says which flag that is, and of wrong usage, which help helps.
func inCommand(c *cli.Context, err error) error {
	var field *config.FieldError
	var u *usageError
	if !errors.As(err, &u) && errors.As(err, &field) {
		err = &usageError{err: flagError{field}}
	}
	if errors.As(err, &u) && u.command == "" {
		u.command = c.Command.HelpName
	}
	return err
}

// flagError is an error of a field that was given as a flag.
type flagError struct{ *config.FieldError }

func (e flagError) Error() string {
	return e.Describe(func(field string) string { return "--" + field })
}

func (e flagError) Unwrap() error { return e.FieldError }
