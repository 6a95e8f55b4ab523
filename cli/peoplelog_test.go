package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestPeopleLog(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newPeopleHandler(&b, slog.LevelInfo))
	log.Debug("not this")
	log.Warn("connection failed", "client", "127.0.0.1:4", "error", errors.New("it is away"), "n", 3)
	log.With("name", "a b").WithGroup("g").Info("so it is", "x", "", "ended", "in order")
	log.Info("evil\x1b[2J\nline", "name", "\x1b]0;title\a")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i, want := range []string{
		`WARN  connection failed: it is away (client 127.0.0.1:4, n 3)`,
		`INFO  so it is (name "a b", g.x "", g.ended "in order")`,
		`INFO  evil [2J line (name ]0;title)`,
	} {
		if i >= len(lines) || !strings.HasSuffix(lines[i], want) {
			t.Errorf("line %d of\n%s\nis not %s", i, b.String(), want)
		}
	}
	if len(lines) != 3 || strings.ContainsAny(b.String(), "\x1b\a") {
		t.Errorf("%d lines: %q", len(lines), b.String())
	}
}
