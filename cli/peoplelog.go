package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// peopleHandler writes a log for who sits at a terminal: a line each, with the time of day, what
// has happened and why, and then the rest.
//
//	15:04:05 WARN  connection failed: the target refused the connection (client 127.0.0.1:4, …)
type peopleHandler struct {
	least slog.Level
	attrs []slog.Attr
	group string

	mu *sync.Mutex // held while something is written to w
	w  io.Writer
}

func newPeopleHandler(w io.Writer, least slog.Level) slog.Handler {
	return &peopleHandler{least: least, mu: new(sync.Mutex), w: w}
}

// Enabled implements slog.Handler.
func (h *peopleHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.least }

// WithAttrs implements slog.Handler.
func (h *peopleHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], h.inGroup(attrs)...)
	return &next
}

// WithGroup implements slog.Handler.
func (h *peopleHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.group += name + "."
	return &next
}

func (h *peopleHandler) inGroup(attrs []slog.Attr) []slog.Attr {
	all := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		all[i] = slog.Attr{Key: h.group + a.Key, Value: a.Value}
	}
	return all
}

// Handle implements slog.Handler.
func (h *peopleHandler) Handle(_ context.Context, r slog.Record) error {
	all := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, h.inGroup([]slog.Attr{a})...)
		return true
	})
	var line strings.Builder
	fmt.Fprintf(&line, "%s %-5s %s", r.Time.Format(time.TimeOnly), r.Level, plainWord(r.Message))
	var rest []string
	for _, a := range all {
		text := plainWord(a.Value.Resolve().String())
		switch a.Key {
		case "error", "ended", "reason":
			line.WriteString(": " + text)
		default:
			rest = append(rest, a.Key+" "+quotedIfNeeded(text))
		}
	}
	if len(rest) > 0 {
		line.WriteString(" (" + strings.Join(rest, ", ") + ")")
	}
	line.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, line.String())
	return err
}

// plainWord is text in one line, which does nothing to a terminal: some of it is what others say.
func plainWord(text string) string { return plain(oneLine(text)) }

// quotedIfNeeded tells a value from what is around it.
func quotedIfNeeded(text string) string {
	if text == "" || strings.ContainsAny(text, " ,()\"") && !strings.HasPrefix(text, `"`) {
		return strconv.Quote(text)
	}
	return text
}
