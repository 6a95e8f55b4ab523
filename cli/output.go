package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"time"

	"github.com/secureportal/sp/cli/wording"
	"github.com/secureportal/sp/internal/linequeue"
)

// quietLibraries has nobody but this package write to stderr: some libraries would say there, in
// words of their own, that the system gives UDP less room than they want.
func quietLibraries() { log.SetOutput(io.Discard) }

// say prints a line of results.
func say(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, format+"\n", args...)
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// good says in a word or more what a check has found.
func good(err error) string {
	if err != nil {
		return "bad: " + err.Error()
	}
	return "good"
}

func milliseconds(d time.Duration) string { return wording.Milliseconds(d) }

// newLogger returns a logger that writes to w in a format, from a level on. If w is a queue, that
// tells in the same format of lines that it has lost.
func newLogger(format, level string, w io.Writer) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %q is not debug, info, warn or error", level)
	}
	if !slices.Contains([]string{"people", "text", "json"}, format) {
		return nil, usage("--log-format %q is not people, text or json", format)
	}
	if q, ok := w.(*linequeue.Queue); ok {
		q.SetNote(func(lost uint64) []byte {
			var b bytes.Buffer
			slog.New(newHandler(format, &b, slog.LevelWarn)).Warn(
				"lines are missing here: the log was not read, or not written", "left out", lost)
			return b.Bytes()
		})
	}
	return slog.New(newHandler(format, w, least)), nil
}

func newHandler(format string, w io.Writer, least slog.Level) slog.Handler {
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "json":
		return slog.NewJSONHandler(w, options)
	case "people":
		return newPeopleHandler(w, least)
	}
	return slog.NewTextHandler(w, options)
}
