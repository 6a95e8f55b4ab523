package route

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// warnings counts what is logged as a warning, and looks at nothing else.
type warnings struct{ atomic.Int32 }

func (*warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (w *warnings) Handle(context.Context, slog.Record) error  { w.Add(1); return nil }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler         { return w }
func (w *warnings) WithGroup(string) slog.Handler              { return w }

// Somebody who is trusted asks for one thing after the other that he may not have, as a scanner
// does: the log tells of some.
func TestTrustedCannotFillTheLog(t *testing.T) {
	t.Parallel()
	var log warnings
	w := newWorld(t)
	n, at := w.listening(t, func(c *Config) { c.Logger = slog.New(&log) })
	var asked atomic.Int32
	n.Handle("scanned", func(context.Context, *Request) error {
		return RefuseBecause(wire.NotAllowed, "no", fmt.Errorf("port %d", asked.Add(1)))
	})
	asker := w.node(t)
	const many = 300
	for range many {
		_, err := ask(t, asker, Route{at, secure(), svc("scanned")}, "")
		expectStatus(t, err, wire.NotAllowed, 1, transport.Format(at))
	}
	if got := log.Load(); got == 0 || got > many/2 {
		t.Errorf("%d lines of %d refusals", got, many)
	}
}
