package trust

import (
	"container/list"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/userdir"
)

// Errors of a [KnownHistories], and of [Policy.Check] on its behalf.
var (
	// ErrOlderHistory: the identity has been seen with a newer key; this one was given up.
	ErrOlderHistory = errors.New("its history is older than one seen before")
	// ErrForkedHistory: two histories of one identity went different ways.
	ErrForkedHistory = errors.New("its history contradicts one seen before")
)

// Seen remembers the newest history of each identity, so that a key that was given up is
// refused, and so is a second history that leaves the first. The first one seen wins.
//
// Only identities that have rotated their key are kept: nothing contradicts a history
// of one change. There are at most [MaxKnownHistories]; beyond that the one not met for the longest
// time is forgotten, strangers (trusted as anyone only) before those that were named.
//
// With a file behind it, what is known survives a restart, except for strangers. It is
// safe for concurrent use. Two processes may share a file: each learns at its next
// start what the other has seen.
type KnownHistories struct {
	path string // set once; empty: no file

	mu        sync.Mutex // guards what follows
	entries   map[identity.Identifier]*list.Element
	named     *list.List // of *seenEntry, the last one met in front
	strangers *list.List
	lines     int // in the file
}

type knownHistory struct {
	id       identity.Identifier
	hashes   [][32]byte // of the changes, at least two
	stranger bool
}

// A seen file is text: the header, then a line for each history that was new: the
// Identifier and the hashes of the changes after the first, separated by spaces. Of
// several lines about one identity the longest counts, unless it contradicts the first.
const seenHeader = "sp-seen-1"

// DefaultKnownHistoriesPath returns where a user's known histories are kept: sp/seen in
// $XDG_STATE_HOME if set, else in ~/.local/state, or beside the identity file on systems
// where that is not the custom.
func DefaultKnownHistoriesPath() (string, error) {
	dir, err := userdir.State()
	if err != nil {
		return "", fmt.Errorf("no place for a seen file: %w", err)
	}
	return filepath.Join(dir, "sp", "seen"), nil
}

// NewSeen returns a memory without a file.
func NewKnownHistories() *KnownHistories {
	return &KnownHistories{entries: make(map[identity.Identifier]*list.Element), named: list.New(), strangers: list.New()}
}

// OpenSeen returns a memory kept in a file. If it is not there it is created, mode 0600,
// and the folders on the way to it, as soon as there is something to write. A last line that was cut short, as by a crash, is dropped; other damage is an
// error that names the line.
func OpenKnownHistories(path string) (*KnownHistories, error) {
	s := NewKnownHistories()
	s.path = path
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("seen file %s: %w", path, err)
	}
	return s, nil
}

func (s *KnownHistories) open() error {
	b, _, err := atomicfile.Read(s.path, maxSeenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, complete := string(b), true
	if i := strings.LastIndexByte(text, '\n'); i != len(text)-1 {
		text, complete = text[:i+1], false
	}
	if err := s.parse(text); err != nil {
		return err
	}
	if !complete || s.lines > 2*MaxKnownHistories {
		return s.rewrite()
	}
	return nil
}

func (s *KnownHistories) parse(text string) error {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if number == 1 {
			if line != seenHeader {
				break
			}
			continue
		}
		hashes, err := parseSeenLine(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		s.lines++
		if s.relate(hashes) == newer {
			s.remember(hashes, false)
		}
	}
	if !strings.HasPrefix(text, seenHeader+"\n") {
		return fmt.Errorf("not a seen file: its first line is not %q", seenHeader)
	}
	return nil
}

func parseSeenLine(line string) ([][32]byte, error) {
	words := strings.Split(line, " ")
	if len(words) < 2 || len(words) > identity.MaxChanges {
		return nil, fmt.Errorf("it has %d words, want 2 to %d", len(words), identity.MaxChanges)
	}
	id, err := identity.ParseIdentifier(words[0])
	if err != nil {
		return nil, err
	}
	hashes := [][32]byte{id}
	for _, w := range words[1:] {
		h, err := identity.ParseIdentifier("I" + w)
		if err != nil {
			return nil, errors.New("a hash is not 64 lower-case hexadecimal digits")
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

func formatSeenLine(hashes [][32]byte) string {
	var b strings.Builder
	b.WriteString(identity.Identifier(hashes[0]).String())
	for _, h := range hashes[1:] {
		b.WriteString(" " + hex.EncodeToString(h[:]))
	}
	b.WriteString("\n")
	return b.String()
}

// Check compares a history with what is remembered and remembers nothing. The error
// wraps [ErrOlderHistory] or [ErrForkedHistory] and says why.
func (s *KnownHistories) Check(h *identity.History) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.check(h.Hashes())
	return err
}

// Observe compares a history with what is remembered, as Check does, and remembers it if
// it is newer. If there is a file and it cannot be written, that is an error too, and
// nothing is remembered: a peer must not be trusted today and forgotten tomorrow.
func (s *KnownHistories) Observe(h *identity.History) error { return s.observe(h, false) }

func (s *KnownHistories) observe(h *identity.History, stranger bool) error {
	hashes := h.Hashes()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.check(hashes)
	if err != nil {
		return err
	}
	if e := s.entries[hashes[0]]; e != nil {
		known := e.Value.(*knownHistory)
		stranger = stranger && known.stranger // named once, named for good
		if r == same && stranger == known.stranger {
			s.of(known).MoveToFront(e)
			return nil
		}
	}
	if len(hashes) < 2 {
		return nil
	}
	if !stranger {
		if err := s.save(hashes); err != nil {
			return fmt.Errorf("its history cannot be remembered: seen file: %w", err)
		}
	}
	s.remember(hashes, stranger)
	return nil
}

// Len returns the number of identities remembered.
func (s *KnownHistories) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

func (s *KnownHistories) check(hashes [][32]byte) (relation, error) {
	r := s.relate(hashes)
	switch r {
	case older:
		seen := len(s.entries[hashes[0]].Value.(*knownHistory).hashes)
		return r, fmt.Errorf("%w: it has %d of %d changes: the key was given up", ErrOlderHistory, len(hashes), seen)
	case forked:
		return r, fmt.Errorf("%w: the same identity with two different keys, one of them perhaps stolen", ErrForkedHistory)
	}
	return r, nil
}

// relate says how a history stands to the one remembered. If there is none it is newer,
// unless it is one of those that need not be remembered.
func (s *KnownHistories) relate(hashes [][32]byte) relation {
	e := s.entries[hashes[0]]
	if e == nil {
		if len(hashes) == 1 {
			return same
		}
		return newer
	}
	return relate(e.Value.(*knownHistory).hashes, hashes)
}

// of returns the list that an entry is in.
func (s *KnownHistories) of(e *knownHistory) *list.List {
	if e.stranger {
		return s.strangers
	}
	return s.named
}

// remember puts a history in place of the one remembered and keeps to the limit.
func (s *KnownHistories) remember(hashes [][32]byte, stranger bool) {
	id := identity.Identifier(hashes[0])
	if e := s.entries[id]; e != nil {
		s.of(e.Value.(*knownHistory)).Remove(e)
	}
	entry := &knownHistory{id: id, hashes: hashes, stranger: stranger}
	s.entries[id] = s.of(entry).PushFront(entry)
	if len(s.entries) <= MaxKnownHistories {
		return
	}
	from := s.strangers
	if from.Len() == 0 {
		from = s.named
	}
	last := from.Remove(from.Back()).(*knownHistory)
	delete(s.entries, last.id)
}

// save adds a line to the file, after making it short again if it has grown long.
func (s *KnownHistories) save(hashes [][32]byte) error {
	if s.path == "" {
		return nil
	}
	if s.lines >= 2*MaxKnownHistories {
		if err := s.rewrite(); err != nil {
			return err
		}
	}
	line := formatSeenLine(hashes)
	err := atomicfile.Append(s.path, []byte(line))
	if errors.Is(err, fs.ErrNotExist) {
		err = s.create(line)
	}
	if err != nil {
		return err
	}
	s.lines++
	return nil
}

// create makes the file with its first line, or adds that if somebody else was faster.
func (s *KnownHistories) create(line string) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	err := atomicfile.Create(s.path, []byte(seenHeader+"\n"+line))
	if errors.Is(err, fs.ErrExist) {
		return atomicfile.Append(s.path, []byte(line))
	}
	return err
}

// rewrite replaces the file with one that has a line for each entry, the one not met for
// the longest time first.
func (s *KnownHistories) rewrite() error {
	var b strings.Builder
	b.WriteString(seenHeader + "\n")
	for e := s.named.Back(); e != nil; e = e.Prev() {
		b.WriteString(formatSeenLine(e.Value.(*knownHistory).hashes))
	}
	if err := atomicfile.Replace(s.path, []byte(b.String())); err != nil {
		return err
	}
	s.lines = s.named.Len()
	return nil
}

// relation says how a history stands to one that was seen before.
type relation int

const (
	same relation = iota
	older
	newer
	forked
)

// relate compares two lists of change hashes of one identity. As every change contains
// the hash of the one before, the last common hash speaks for all before it.
func relate(seen, shown [][32]byte) relation {
	n := min(len(seen), len(shown))
	switch {
	case n == 0 || seen[n-1] != shown[n-1]:
		return forked
	case len(shown) < len(seen):
		return older
	case len(shown) > len(seen):
		return newer
	}
	return same
}
