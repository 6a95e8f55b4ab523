package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServiceLine has a service's command line mean what it meant where it was typed, and refuses
// what a service cannot do.
func TestServiceLine(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("SP_DRAIN", "5s")
	file := "[inlet.a]\nlisten = '127.0.0.1:6000'\nto = 'server:7000'\n"
	if err := os.WriteFile(filepath.Join(folder, "sp.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ words, want string }{
		{
			"outlet --listen :7000 --listen unix:here.sock --target :5432 --allow-file friends --mux=false",
			"outlet --listen :7000 --listen unix:DIR/here.sock --target :5432 --mux=false --drain 5s " +
				"--allow-file DIR/friends",
		},
		{
			"inlet --listen 127.0.0.1:6000 --to db@relay:4000 --identity /keys/id --log-file=in.log",
			"inlet --listen 127.0.0.1:6000 --to db@relay:4000 --drain 5s --log-file DIR/in.log " +
				"--identity /keys/id",
		},
		{
			"inlet db=:5432,web=unix:web.sock server:7000",
			"inlet --listen db=:5432,web=unix:DIR/web.sock --to server:7000 --drain 5s",
		},
		{"inlet db=:5432,web=:5432 server:7000", "!it is there twice"},
		{"inlet db=:5432,web=:5433 nonsense", "!it is the host:port where they are"},
		{"inlet server:7000", "!where do clients connect"},
		{"up", "up --config DIR/sp.toml"},
		{"up sp.toml", "up --config DIR/sp.toml"},
		{"up --watch --config ./sp.toml", "up --config DIR/sp.toml --watch=true"},
		{"up --config nothing.toml", "!no such file"},
		{"", "!what is the service to be"},
		{"run -- true", "!what is the service to be"},
		{"inlet --help", "!help is no service"},
		{"inlet --listen :6000", "!where is the outlet"},
		{"inlet --listen :6000 --too x:1", "!no flag --too"},
		{"inlet --listen - --to server:7000", "!no stdin and stdout"},
		{"inlet --listen :6000 --to -", "!no stdin and stdout"},
		{"inlet --listen :6000 --to server:7000 --background", "!is in the background"},
		{"inlet --listen fd:3 --to server:7000", "!nobody hands sockets"},
		{"inlet --listen :6000 --ticket sp-ticket-1:abc", "!a secret"},
		{"outlet --listen :7000 --target -", "!no stdin and stdout"},
		{"outlet --listen :7000 --target nonsense", "!nonsense"},
		{"outlet --listen :7000 stray --target :1", "!unexpected argument"},
	} {
		line, err := serviceLine(t.Context(), strings.Fields(test.words), folder)
		want, refused := strings.CutPrefix(test.want, "!")
		if refused {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, %v", test.words, line, err)
			}
			continue
		}
		want = strings.ReplaceAll(want, "DIR", filepath.ToSlash(folder))
		if got := filepath.ToSlash(strings.Join(line, " ")); err != nil || got != want {
			t.Errorf("%s: %v\n%s\n%s", test.words, err, got, want)
			continue
		}
		if _, err := parseCall(t.Context(), line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}
