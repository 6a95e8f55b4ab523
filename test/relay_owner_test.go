//go:build unix

package test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// publicFile is where this person's Identifier is for those who must not read the key.
func (u person) publicFile() string {
	return filepath.Join(filepath.Dir(u.keyFile()), "public", "identity")
}

// copyKey puts this person's key where another one's is.
func (u person) copyKey(to person) {
	u.t.Helper()
	u.identifier() // is made
	b, err := os.ReadFile(u.keyFile())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to.keyFile()), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to.keyFile(), b, 0o600)
	}
	if err != nil {
		u.t.Fatal(err)
	}
}

const (
	forNobodyYet = "nobody may claim a name yet"
	forItsUser   = "this user's own identity may claim names"
)

// claims is the command of an outlet that claims db on a relay, or fails at once.
func claims(at string, target string, more ...string) []string {
	return append([]string{
		"outlet", "--no-wait", "--relay", at, "--name", "db", "--target", target,
	}, more...)
}

// TestRelayFirst starts a relay before its user has an identity, and says nothing about whom it is
// for: the outlet that makes the identity claims its name at once, and nobody else does.
func TestRelayFirst(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"": nil, "confined": confined} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			me, stranger := newPerson(t), newPerson(t)
			relay, at := me.startRelay(flags...)
			relay.says(forNobodyYet)
			relay.says("or name who may with --allow I…, which sp identity show prints")
			stranger.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1")...)
			if _, err := os.Stat(me.keyFile()); err == nil {
				t.Fatal("the relay has made its user's key")
			}
			outlet := me.start(claims(at, named(t, "db"))...)
			outlet.ready()
			relay.says(`"outlet registered" name=db identifier=` + me.identifier())
			relay.says("anchor=allow-file at=" + me.publicFile() + ":1")
			reaches(t, me.inletTo("db@"+at), "db")
			stranger.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1", "--replace")...)

			// A new key is the same identity, and another identity is another.
			me.must("identity", "rotate")
			outlet.says("the identity has a new key")
			outlet.stop()
			outlet.ends(done)
			again := me.start(claims(at, named(t, "db"))...)
			again.ready()
			reaches(t, me.inletTo("db@"+at), "db")
			me.must("identity", "create", "--force")
			relay.saysTimes("outlet gone", 2)
			me.start(claims(at, named(t, "db"))...).ready()
		})
	}
}

// TestRelayOfCopiedKey has a key file be copied to a relay's machine, and nothing else be done.
func TestRelayOfCopiedKey(t *testing.T) {
	t.Parallel()
	me, there, stranger := newPerson(t), newPerson(t), newPerson(t)
	me.copyKey(there)
	relay, at := there.startRelay()
	relay.says(forItsUser)
	relay.says("identifier=" + me.identifier())
	there.contains(there.publicFile(), me.identifier()+"\n")
	me.startNamed(at, "db", named(t, "db"))
	reaches(t, me.inletTo("db@"+at), "db")
	stranger.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1")...)
	relay.says("not our own identity, and not among the 1 allowed")

	// Another key in its place is another user, from the next start on.
	stranger.copyKey(there)
	relay.kill()
	relay, at = there.startRelay()
	relay.says("identifier=" + stranger.identifier())
	me.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1")...)
	stranger.startNamed(at, "db", named(t, "db"))

	// A key that others can read is not taken, and one that is nonsense neither.
	for text, spoil := range map[string]func() error{
		"chmod 600": func() error { return os.Chmod(there.keyFile(), 0o644) },
		"not an identity file": func() error {
			return os.WriteFile(there.keyFile(), []byte("nonsense"), 0o600)
		},
	} {
		stranger.copyKey(there)
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Dir(there.publicFile())); err != nil {
			t.Fatal(err)
		}
		relay, _ := there.startRelay()
		relay.says(text)
		relay.says(forNobodyYet)
		if err := os.Remove(there.keyFile()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRelayNamedMeansThat has a relay that is told whom it is for be for nobody else.
func TestRelayNamedMeansThat(t *testing.T) {
	t.Parallel()
	me, friend := newPerson(t), newPerson(t)
	me.identifier() // is made
	for _, flags := range [][]string{
		{"--allow", friend.identifier()},
		{"--allow-file", me.file("friends", friend.identifier()+"\n")},
		{"--authority", friend.identifier()},
		{"--deny", me.identifier()},
		{"--identity", filepath.Join(me.home, "relay.key")},
	} {
		relay, at := me.startRelay(flags...)
		me.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1")...)
		if relay.said(forItsUser) > 0 {
			t.Errorf("%v: it says that it is for its user", flags)
		}
	}
}

// TestRelaysOfOneUser has a relay claim a name on another one of the same user.
func TestRelaysOfOneUser(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	_, first := me.startRelay()
	second, at := me.startRelay("--relay", first, "--name", "second")
	second.says("name=second")
	me.startNamed(at, "db", named(t, "db"))
	reaches(t, me.inletTo(step(first)+forwardTo("second")+forwardTo("db")+toOutlet), "db")
}

// TestPublicFileSpoilt is whom a relay is for by a file that others can write: nobody.
func TestPublicFileSpoilt(t *testing.T) {
	t.Parallel()
	me, mallory := newPerson(t), newPerson(t)
	relay, at := me.startRelay()
	relay.says(forNobodyYet)
	folder := filepath.Dir(me.publicFile())
	write := func(mode os.FileMode) {
		t.Helper()
		err := errors.Join( // never good while it is written: somebody may read it meanwhile
			os.WriteFile(me.publicFile(), nil, 0o600),
			os.Chmod(me.publicFile(), 0o666),
			os.WriteFile(me.publicFile(), []byte(mallory.identifier()+"\n"), 0o600),
			os.Chmod(me.publicFile(), mode),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	write(0o666)
	mallory.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1")...)
	relay.says("others can change it: the mode of " + me.publicFile() + " is 0666")
	me.fails(failed, "others can change it", me.relayAt(anywhere)...)
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	write(0o600)
	mallory.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1")...)
	me.fails(failed, "the mode of "+folder+" is 0777", me.relayAt(anywhere)...)
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	// It is the user's again, and the user's identity puts it right.
	me.start(claims(at, named(t, "db"))...).ready()
	me.contains(me.publicFile(), me.identifier()+"\n")
	reaches(t, me.inletTo("db@"+at), "db")
	mallory.fails(notTrusted, "not trusted", claims(at, "127.0.0.1:1", "--replace")...)
}

// TestRelayWithoutHome has a relay that can keep nothing say so, and take a key that is named.
func TestRelayWithoutHome(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	key, id := me.identity("server")
	homeless := func(args ...string) *process {
		cmd := me.command(args...)
		kept := cmd.Env[:0]
		for _, kv := range cmd.Env {
			if !strings.HasPrefix(kv, "HOME=") && !strings.HasPrefix(kv, "XDG_") {
				kept = append(kept, kv)
			}
		}
		cmd.Env = kept
		return start(t, cmd)
	}
	p := homeless(me.relayAt(anywhere)...)
	p.ends(failed)
	p.saysError("no place for an identity file")
	p.says("hint: name a key file with --identity")
	relay := homeless(me.relayAt(anywhere, "--identity", key)...)
	at := relay.ready()
	outlet := homeless(claims(at, named(t, "db"), "--identity", key)...)
	outlet.ready()
	reaches(t, homeless("inlet", "--listen", anywhere, "--to", "db@"+at, "--identity", key).ready(),
		"db")
	relay.says("identifier=" + id)
	other := homeless(me.relayAt(anywhere, "--identity", key, "--allow", me.identifier())...)
	me.start(claims(other.ready(), "127.0.0.1:1")...).ready()
}
