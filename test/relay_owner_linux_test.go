package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// TestRelayInReadOnlyHome has everything work whose keys are there, where nothing can be written: a
// relay is for whoever has the key that it finds.
func TestRelayInReadOnlyHome(t *testing.T) {
	testenv.NeedRoot(t) // to mount
	unshare := testenv.NeedTool(t, "unshare")
	t.Parallel()
	me, stranger := newPerson(t), newPerson(t)
	id := me.identifier()
	me.relayIdentifier() // is made
	if err := os.RemoveAll(filepath.Dir(me.publicFile())); err != nil {
		t.Fatal(err)
	}
	readOnly := func(args ...string) *process {
		const script = `mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME" && exec "$@"`
		return start(t, me.program(unshare,
			append([]string{"--mount", "sh", "-c", script, "sh", me.binary}, args...)...))
	}
	relay := readOnly(me.relayAt(anywhere, confined...)...)
	at := relay.ready()
	relay.says("is trusted as it is now\" error=\"public file " + me.publicFile())
	relay.says(forItsUser + ", since nobody else is named\" identifier=" + id)
	readOnly(claims(at, named(t, "db"))...).ready()
	reaches(t, readOnly("inlet", "--listen", anywhere, "--to", "db@"+at).ready(), "db")
	stranger.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1", "--replace")...)
	if _, err := os.Stat(filepath.Dir(me.publicFile())); err == nil {
		t.Error("the home was not read-only")
	}
}
