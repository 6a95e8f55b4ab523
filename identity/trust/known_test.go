package trust

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

func openKnown(t testing.TB, path string) *KnownHistories {
	t.Helper()
	s, err := OpenKnownHistories(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// len returns the number of identities remembered.
func (k *KnownHistories) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.entries)
}

// Both kinds of memory answer alike; the one with a file is opened again for each
// question.
func TestSeen(t *testing.T) {
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	third := rotated(t, second, "c")
	fork := rotated(t, first, "thief")
	longFork := rotated(t, rotated(t, fork, "thief 2"), "thief 3")
	path := filepath.Join(t.TempDir(), "new", "seen")
	memory := NewKnownHistories()
	for name, seen := range map[string]func() *KnownHistories{
		"memory": func() *KnownHistories { return memory },
		"file":   func() *KnownHistories { return openKnown(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			for i, step := range []struct {
				id   *identity.Identity
				want error
			}{
				{first, nil},
				{first, nil},
				{second, nil},
				{second, nil},
				{first, ErrOlderHistory},
				{fork, ErrForkedHistory},
				{longFork, ErrForkedHistory},
				{second, nil},
				{third, nil},
				{second, ErrOlderHistory},
				{first, ErrOlderHistory},
				{fork, ErrForkedHistory},
				{longFork, ErrForkedHistory},
				{third, nil},
				{newIdentity(t, "other"), nil},
			} {
				if err := seen().Check(step.id.History()); !errors.Is(err, step.want) {
					t.Fatalf("step %d: Check: %v, want %v", i, err, step.want)
				}
				if err := seen().Observe(step.id.History()); !errors.Is(err, step.want) {
					t.Fatalf("step %d: Observe: %v, want %v", i, err, step.want)
				}
			}
			if n := seen().len(); n != 1 {
				t.Errorf("%d are remembered, want 1: those that never rotated need not be", n)
			}
			wantErr(t, seen().Check(second.History()), ErrOlderHistory, "2 of 3 changes")
		})
	}
	if text := string(read(t, path)); strings.Count(text, "\n") != 3 {
		t.Errorf("the file has more than a line for each rotation:\n%s", text)
	}
}

// Check alone remembers nothing.
func TestSeenCheckForgets(t *testing.T) {
	first := newIdentity(t, "a")
	s := NewKnownHistories()
	if err := s.Check(rotated(t, first, "b").History()); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(first.History()); err != nil || s.len() != 0 {
		t.Errorf("%v, %d remembered", err, s.len())
	}
}

func TestSeenFileDamaged(t *testing.T) {
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	third := rotated(t, second, "c")
	path := filepath.Join(t.TempDir(), "seen")
	s := openKnown(t, path)
	for _, id := range []*identity.Identity{second, third} {
		if err := s.Observe(id.History()); err != nil {
			t.Fatal(err)
		}
	}
	good := string(read(t, path))

	// Cut anywhere in the last line: as if it had not been written.
	last := strings.LastIndexByte(good[:len(good)-1], '\n') + 1
	for n := last; n < len(good); n++ {
		write(t, path, good[:n])
		s, err := OpenKnownHistories(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if err := s.Check(first.History()); !errors.Is(err, ErrOlderHistory) {
			t.Fatalf("cut at %d: the line before is lost: %v", n, err)
		}
		if err := s.Observe(third.History()); err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, path)); got != good {
			t.Fatalf("cut at %d: the file was not put right:\n%s", n, got)
		}
	}
	for bad, want := range map[string]string{
		"":                                   "not a seen file",
		"something\n":                        "not a seen file",
		strings.ToUpper(good):                "not a seen file",
		good + "\n":                          "line 4",
		good + "x y\n":                       "line 4: identifier has 1 characters",
		strings.Replace(good, " ", "  ", 1):  "line 2: a hash is not",
		strings.Replace(good, " ", " \t", 1): "line 2: a hash is not",
		good + first.Identifier().String() + "\n": "line 4: it has 1 words",
	} {
		write(t, path, bad)
		_, err := OpenKnownHistories(path)
		wantErr(t, err, nil, want)
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the file", err)
		}
	}
}

// Two processes that share a file may write lines that do not agree: the longest counts,
// and the first of two branches.
func TestSeenFileOfTwoProcesses(t *testing.T) {
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	third := rotated(t, second, "c")
	fork := rotated(t, rotated(t, rotated(t, first, "thief"), "thief 2"), "thief 3")
	text := seenHeader + "\n"
	for _, id := range []*identity.Identity{third, second, fork} {
		text += formatSeenLine(id.History().Hashes())
	}
	s := openKnown(t, writeTemp(t, "seen", text))
	if err := s.Check(third.History()); err != nil {
		t.Error(err)
	}
	wantErr(t, s.Check(second.History()), ErrOlderHistory, "2 of 3")
	wantErr(t, s.Check(fork.History()), ErrForkedHistory, "")
}

// If it cannot be remembered it must not be trusted, and the next try is no different.
func TestSeenFileCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	s := openKnown(t, path)
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	p := newPolicy(t, Config{Self: first.Identifier(), Known: s})
	for range 2 {
		_, err := p.Accept(peerOf(second), anInlet, t0)
		wantErr(t, err, ErrNotTrusted, "cannot be remembered")
	}
	if _, err := p.Accept(peerOf(first), anInlet, t0); err != nil {
		t.Errorf("one with nothing to remember: %v", err)
	}
}

// fakeHashes stands for the history of the n-th of many identities.
func fakeHashes(n, length int) hashes {
	hs := make(hashes, length)
	for i := range hs {
		binary.BigEndian.PutUint64(hs[i][:], uint64(n)+1)
		hs[i][31] = byte(i)
	}
	return hs
}

func TestSeenIsBounded(t *testing.T) {
	s := NewKnownHistories()
	s.rememberLocked(fakeHashes(-2, 2), false)
	for i := range 2 * MaxKnownHistories {
		s.rememberLocked(fakeHashes(i, 2), true)
		if len(s.entries) != s.named.Len()+s.strangers.Len() || len(s.entries) > MaxKnownHistories {
			t.Fatalf("%d entries, %d named, %d strangers",
				len(s.entries), s.named.Len(), s.strangers.Len())
		}
	}
	if s.entries[fakeHashes(-2, 2)[0]] == nil {
		t.Error("strangers drove out one that was named")
	}
	if s.entries[fakeHashes(0, 2)[0]] != nil ||
		s.entries[fakeHashes(2*MaxKnownHistories-1, 2)[0]] == nil {
		t.Error("not the one that was met longest ago was forgotten")
	}
	kept := MaxKnownHistories + 2
	s.strangers.MoveToFront(s.entries[fakeHashes(kept, 2)[0]])
	for i := range MaxKnownHistories - 2 {
		s.rememberLocked(fakeHashes(3*MaxKnownHistories+i, 2), true)
	}
	if s.entries[fakeHashes(kept, 2)[0]] == nil {
		t.Error("one that was met again was forgotten before the others")
	}
	for i := range 2 * MaxKnownHistories {
		s.rememberLocked(fakeHashes(6*MaxKnownHistories+i, 2), false)
	}
	if s.strangers.Len() != 0 || s.named.Len() != MaxKnownHistories {
		t.Errorf("%d named, %d strangers", s.named.Len(), s.strangers.Len())
	}
}

func TestSeenStrangers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	s := openKnown(t, path)
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	anyone := newPolicy(t, Config{AllowAnyone: true, Known: s})
	if _, err := anyone.Accept(peerOf(second), anInlet, t0); err != nil {
		t.Fatal(err)
	}
	_, err := anyone.Accept(peerOf(first), anInlet, t0)
	wantErr(t, err, ErrOlderHistory, "not trusted")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a stranger was written to the disk: %v", err)
	}
	named := newPolicy(t, Config{Allow: []identity.Identifier{first.Identifier()}, Known: s})
	if _, err := named.Accept(peerOf(second), anInlet, t0); err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, path)); !strings.Contains(got, first.Identifier().String()) {
		t.Errorf("one that is named was not written to the disk: %q", got)
	}
	// Named once, it stays so, also when it comes again as a stranger.
	third := rotated(t, second, "c")
	if _, err := anyone.Accept(peerOf(third), anInlet, t0); err != nil {
		t.Fatal(err)
	}
	again := openKnown(t, path)
	wantErr(t, again.Check(second.History()), ErrOlderHistory, "2 of 3")
	if s.strangers.Len() != 0 || s.named.Len() != 1 {
		t.Errorf("%d named, %d strangers", s.named.Len(), s.strangers.Len())
	}
}

// Who is met again and again is not forgotten.
func TestSeenKeepsThoseMet(t *testing.T) {
	s := NewKnownHistories()
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	for i := range 2 * MaxKnownHistories {
		if i%(MaxKnownHistories/2) == 0 {
			if err := s.observe(second.History(), true); err != nil {
				t.Fatal(err)
			}
		}
		s.rememberLocked(fakeHashes(i, 2), true)
	}
	wantErr(t, s.Check(first.History()), ErrOlderHistory, "")
}

// A file that has grown long is written anew, with what is remembered and no more.
func TestSeenFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	s := openKnown(t, path)
	for i := range MaxKnownHistories {
		s.rememberLocked(fakeHashes(i, 2), false)
	}
	s.file.lines = 2 * MaxKnownHistories
	second := rotated(t, newIdentity(t, "a"), "b")
	if err := s.Observe(second.History()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(read(t, path)), "\n"); n != 1+MaxKnownHistories+1 {
		t.Errorf("the file has %d lines", n)
	}
	again := openKnown(t, path)
	if again.len() != MaxKnownHistories || again.Check(second.History()) != nil ||
		again.entries[second.Identifier()] == nil {
		t.Errorf("%d are remembered after a restart", again.len())
	}
	if again.entries[fakeHashes(0, 2)[0]] != nil {
		t.Error("the oldest was not the one forgotten")
	}
	longest := len(formatSeenLine(fakeHashes(0, identity.MaxChanges)))
	if maxSeenFile-2*MaxKnownHistories*longest < len(seenHeader)+1 {
		t.Error("the longest file does not fit its own limit")
	}
}

func TestSeenConcurrent(t *testing.T) {
	s := openKnown(t, filepath.Join(t.TempDir(), "seen"))
	first := newIdentity(t, "a")
	branches := make([]*identity.Identity, 8)
	for i := range branches {
		branches[i] = rotated(t, first, fmt.Sprint("branch ", i))
	}
	var wg sync.WaitGroup
	accepted := make([]bool, len(branches))
	for i, b := range branches {
		wg.Go(func() { accepted[i] = s.Observe(b.History()) == nil })
	}
	wg.Wait()
	n := 0
	for _, ok := range accepted {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d branches of one history were accepted, want 1", n)
	}
}

// Rotation as the peers of a node see it.
func TestPolicyRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	open := func(id identity.Identifier) *Policy {
		return newPolicy(t, Config{Allow: []identity.Identifier{id}, Known: openKnown(t, path)})
	}
	old := newIdentity(t, "a")
	current := rotated(t, old, "b")
	p := open(old.Identifier())
	check := func(p *Policy, id *identity.Identity) error {
		proof, err := id.Prove(identity.Initiator, testHash, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		claimed, err := identity.ParseProof(identity.Initiator, proof)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := claimed.Verify(testHash)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Accept(peer, anInlet, t0)
		return err
	}
	for _, id := range []*identity.Identity{old, current} {
		if err := check(p, id); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*Policy{p, open(old.Identifier())} {
		wantErr(t, check(p, old), ErrOlderHistory, "not trusted: its history is older")
		wantErr(t, check(p, rotated(t, old, "thief")), ErrForkedHistory, "contradicts")
		if err := check(p, current); err != nil {
			t.Error(err)
		}
	}
}

// What an authority's rotation does to the credentials it issued.
func TestAuthorityRotation(t *testing.T) {
	old := newIdentity(t, "authority")
	current := rotated(t, old, "authority's second key")
	alice, bob := newIdentity(t, "alice"), newIdentity(t, "bob")
	p := newPolicy(t, Config{Authorities: []identity.Identifier{old.Identifier()}})
	before := issued(t, old, alice.Identifier())
	after := issued(t, current, bob.Identifier())
	if _, err := p.Accept(peerOf(alice, before), anInlet, t0); err != nil {
		t.Fatalf("before the rotation is known: %v", err)
	}
	// One that is not trusted tells us nothing, though the credential is true.
	if _, err := p.Accept(peerOf(alice, after), anInlet, t0); err == nil {
		t.Fatal("another's credential is accepted")
	}
	if _, err := p.Accept(peerOf(bob, after), anInlet, t0.Add(2*time.Hour)); err == nil {
		t.Fatal("an expired credential is accepted")
	}
	if _, err := p.Accept(peerOf(alice, before), anInlet, t0); err != nil {
		t.Fatalf("one that is not trusted left a trace: %v", err)
	}
	if _, err := p.Accept(peerOf(bob, after), anInlet, t0); err != nil {
		t.Fatal(err)
	}
	_, err := p.Accept(peerOf(alice, before), anInlet, t0)
	wantErr(t, err, ErrOlderHistory, "its authority "+old.Identifier().String())
	thiefs := issued(t, rotated(t, old, "thief"), alice.Identifier())
	_, err = p.Accept(peerOf(alice, thiefs), anInlet, t0)
	wantErr(t, err, ErrForkedHistory, "credential 1")
	again := issued(t, current, alice.Identifier())
	if _, err := p.Accept(peerOf(alice, before, again), anInlet, t0); err != nil {
		t.Errorf("issued again: %v", err)
	}
}

// What another process has added meanwhile is still there when the file is written anew.
func TestSeenFileWrittenAnewByOneOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	processes := []*KnownHistories{openKnown(t, path), openKnown(t, path)}
	var all []*identity.Identity
	var wg sync.WaitGroup
	for n, name := range names("peer ", 32) {
		id := rotated(t, newIdentity(t, name), name+" again")
		all = append(all, id)
		k := processes[n%2]
		k.mu.Lock()
		if n%4 == 0 {
			k.file.lines = 2 * MaxKnownHistories // the next one writes the file anew
		}
		k.mu.Unlock()
		wg.Go(func() {
			if err := k.Observe(id.History()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	again := openKnown(t, path)
	for n, id := range all {
		if again.entries[id.Identifier()] == nil {
			t.Errorf("peer %d is forgotten", n)
		}
	}
}

// What could not be written months later is found at the start, whatever the reason. A memory
// without its file goes on knowing what it has read.
func TestSeenIsTried(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "")
	for name, row := range map[string]struct {
		path string
		fine bool
	}{
		"in a new folder":     {filepath.Join(dir, "new", "folder", "seen"), true},
		"below a file":        {filepath.Join(file, "seen"), false},
		"with too long names": {filepath.Join(dir, strings.Repeat("x", 300)), false},
	} {
		s := NewKnownHistories()
		s.file = &knownFile{path: row.path}
		if err := s.Try(); (err == nil) != row.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := NewKnownHistories().Try(); err != nil {
		t.Errorf("without a file: %v", err)
	}
	first := newIdentity(t, "a")
	second := rotated(t, first, "b")
	path := filepath.Join(dir, "seen")
	s := openKnown(t, path)
	if err := s.Observe(second.History()); err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	s.Detach()
	if err := s.Observe(rotated(t, second, "c").History()); err != nil {
		t.Errorf("in memory: %v", err)
	}
	wantErr(t, s.Check(first.History()), ErrOlderHistory, "")
	if !bytes.Equal(before, read(t, path)) {
		t.Error("the file has been written")
	}
}
