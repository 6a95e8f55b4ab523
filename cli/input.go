package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/shellword"
	"github.com/secureportal/sp/internal/textfile"
	"github.com/secureportal/sp/route"
)

// fromStdin is what stands for stdin where a text or a file could be.
const fromStdin = config.Stdio

// input is stdin, which only one thing can be read from.
type input struct {
	r     io.Reader
	taken bool // by what has been read, or by a connection
}

// take returns the reader, for one who reads all of it.
func (i *input) take(what string) (io.Reader, error) {
	if i.taken {
		return nil, usage("stdin cannot be both the %s and something else", what)
	}
	i.taken = true
	return i.r, nil
}

// readRoute reads a route from text, or from stdin where text begins with a dash, and returns
// its text too.
func readRoute(text string, stdin *input) (route.Route, string, error) {
	if rest, ok := strings.CutPrefix(text, fromStdin); ok {
		r, err := stdin.take("route")
		if err != nil {
			return nil, "", err
		}
		said, err := textfile.ReadAll(r)
		if err != nil {
			return nil, "", fmt.Errorf("reading the route: %w", err)
		}
		text = strings.TrimSpace(said) + rest
	}
	to, err := route.Parse(text)
	return to, text, err
}

// readWord reads a word that begins with prefix: text itself, or else what is in the file of
// that name, or on stdin. kind says what it is.
func readWord(text, prefix, kind string, stdin *input) (string, error) {
	if strings.HasPrefix(text, prefix) {
		return text, nil
	}
	if text == fromStdin {
		r, err := stdin.take(kind)
		if err != nil {
			return "", err
		}
		return textfile.ReadAll(r)
	}
	word, err := textfile.Read(text)
	if err != nil {
		return "", fmt.Errorf("file %s: %w", text, err)
	}
	return word, nil
}

// readSigned reads a ticket or a credential from what a user has given: the text, a file, or -
// for stdin. kind says which, and parse takes it apart.
func readSigned[T any](
	text, kind string, stdin *input, parse func(string) (*T, error),
) (*T, error) {
	word, err := readWord(text, "sp-"+kind+"-", kind, stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	signed, err := parse(word)
	if err != nil {
		return nil, invalid(err)
	}
	return signed, nil
}

// readTicket reads a ticket as readSigned does.
func readTicket(text string, stdin *input) (*identity.Ticket, error) {
	return readSigned(text, "ticket", stdin, identity.ParseTicketText)
}

// readCredential reads a credential as readSigned does.
func readCredential(text string, stdin *input) (*identity.Credential, error) {
	return readSigned(text, "credential", stdin, identity.ParseCredentialText)
}

// parseWhen reads a time: a duration from base on, in Go's form or in days like 30d, or RFC 3339.
func parseWhen(text string, base time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	unit := time.Nanosecond
	if days, ok := strings.CutSuffix(text, "d"); ok {
		text, unit = days+"h", 24 // an hour a day, times 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d.Abs() > 1<<62/24 {
		return time.Time{}, fmt.Errorf(
			"%q is not a duration like 24h or 30d, or a time like 2026-01-31T12:00:00Z", text)
	}
	return base.Add(d * unit), nil
}

// loadSigner loads a key file that must be there; empty is the user's own.
func loadSigner(path string) (*identity.Identity, error) {
	if path == "" {
		var err error
		if path, err = identity.DefaultPath(); err != nil {
			return nil, err
		}
	}
	return loadKey(path)
}

// loadKey loads a key file that must be there.
func loadKey(path string) (*identity.Identity, error) {
	id, err := identity.Load(path)
	return id, hintAtCreate(err, path)
}

// hintAtCreate says how a key file that is not there is made.
func hintAtCreate(err error, path string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return withHint(err, "sp identity create %s makes one, if that is the file you mean",
		shellword.Quote(path))
}
