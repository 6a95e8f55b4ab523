package trust

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/secureportal/sp/identity"
)

// KnownHistories remembers the newest history of each identity, so that a key that was
// given up is refused. A history that contradicts the one seen first is refused, too.
//
// Only identities that have rotated their key are kept, for nothing contradicts a history
// of one change. There are at most [MaxKnownHistories]. When there would be more, the one
// that was not met for the longest time is forgotten. Strangers, who are trusted as anyone
// only, are forgotten before all others.
//
// With a file behind it, all but strangers survive a restart. Two processes may share a
// file: nothing that one has added is lost to the other, and each learns at its next start,
// or when it writes the file anew, what the other has seen. KnownHistories is safe for
// concurrent use.
type KnownHistories struct {
	mu        sync.Mutex // guards what follows
	file      *knownFile // nil: none
	entries   map[identity.Identifier]*list.Element
	named     *list.List // of *knownHistory, the last one met in front
	strangers *list.List // likewise
}

// hashes is a history by the hashes of its changes, oldest first.
type hashes = [][32]byte

// knownHistory is an entry of KnownHistories.
type knownHistory struct {
	id       identity.Identifier
	hashes   hashes // at least two
	stranger bool
}

// NewKnownHistories returns a memory without a file.
func NewKnownHistories() *KnownHistories {
	return &KnownHistories{
		entries: make(map[identity.Identifier]*list.Element),
		named:   list.New(), strangers: list.New(),
	}
}

// OpenKnownHistories returns a memory that is kept in a file. As soon as there is something
// to write, a file that is not there is created, mode 0600, with the folders on the way to
// it. A last line that was cut short, as by a crash, is dropped. Other damage is an error
// that names the line.
func OpenKnownHistories(path string) (*KnownHistories, error) {
	k := NewKnownHistories()
	k.file = &knownFile{path: path}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.loadLocked(); err != nil {
		return nil, fmt.Errorf("seen file %s: %w", path, err)
	}
	return k, nil
}

// Try tells why what is learned could not be written to the file, or returns nil. It makes the
// folders on the way to it. It is the question to ask at the start: the answer comes months later
// otherwise, when somebody has rotated his key and is refused for it.
func (k *KnownHistories) Try() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	if err := k.file.try(); err != nil {
		return fmt.Errorf("seen file: %w", err)
	}
	return nil
}

// Detach has what is learned from now on be in memory only.
func (k *KnownHistories) Detach() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.file = nil
}

func (k *KnownHistories) loadLocked() error {
	read, whole, err := k.file.read()
	if err != nil {
		return err
	}
	k.takeLocked(read)
	if whole && !k.file.long() {
		return nil
	}
	unlock, err := k.file.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return k.shortenLocked()
}

// shortenLocked writes the file anew, with what is known here and what other processes have added
// to it. The file is locked.
func (k *KnownHistories) shortenLocked() error {
	read, _, err := k.file.read()
	if err != nil {
		return err
	}
	k.takeLocked(read)
	return k.file.rewrite(k.allNamedLocked())
}

// takeLocked remembers what a file says, as far as it does not contradict itself.
func (k *KnownHistories) takeLocked(all []hashes) {
	for _, hs := range all {
		if k.relateLocked(hs) == newer {
			k.rememberLocked(hs, false)
		}
	}
}

// Check compares a history with the one known, and changes nothing. The error wraps
// [ErrOlderHistory] or [ErrForkedHistory] and says why.
func (k *KnownHistories) Check(h *identity.History) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.checkLocked(h.Hashes())
	return err
}

// Observe compares a history with the one known, as Check does, and remembers it if it is
// newer. If it cannot be written to the file, that is an error too, and nothing is
// remembered: a peer must not be trusted today and forgotten tomorrow.
func (k *KnownHistories) Observe(h *identity.History) error { return k.observe(h, false) }

func (k *KnownHistories) observe(h *identity.History, stranger bool) error {
	hs := h.Hashes()
	k.mu.Lock()
	defer k.mu.Unlock()
	r, err := k.checkLocked(hs)
	if err != nil {
		return err
	}
	if e := k.entries[hs[0]]; e != nil {
		known := e.Value.(*knownHistory)
		stranger = stranger && known.stranger // named once, named for good
		if r == same && stranger == known.stranger {
			k.listOf(known).MoveToFront(e)
			return nil
		}
	}
	if len(hs) < 2 {
		return nil
	}
	if !stranger {
		if err := k.saveLocked(hs); err != nil {
			return fmt.Errorf("its history cannot be remembered: seen file: %w", err)
		}
	}
	k.rememberLocked(hs, stranger)
	return nil
}

// saveLocked adds a history to the file, after making that short again if it is long.
func (k *KnownHistories) saveLocked(hs hashes) error {
	if k.file == nil {
		return nil
	}
	unlock, err := k.file.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if k.file.full() {
		if err := k.shortenLocked(); err != nil {
			return err
		}
		if _, err := k.checkLocked(hs); err != nil {
			return err // somebody else has seen more
		}
	}
	return k.file.append(hs)
}

// allNamedLocked returns those that belong into the file, the one not met for the longest
// time first.
func (k *KnownHistories) allNamedLocked() []hashes {
	all := make([]hashes, 0, k.named.Len())
	for e := k.named.Back(); e != nil; e = e.Prev() {
		all = append(all, e.Value.(*knownHistory).hashes)
	}
	return all
}

func (k *KnownHistories) checkLocked(hs hashes) (relation, error) {
	r := k.relateLocked(hs)
	switch r {
	case older:
		known := len(k.entries[hs[0]].Value.(*knownHistory).hashes)
		return r, fmt.Errorf("%w: it has %d of %d changes: the key was given up",
			ErrOlderHistory, len(hs), known)
	case forked:
		return r, fmt.Errorf("%w: the same identity with two different keys, "+
			"one of them perhaps stolen", ErrForkedHistory)
	}
	return r, nil
}

// relateLocked says how a history stands to the one known. If none is known it is newer,
// unless it need not be remembered.
func (k *KnownHistories) relateLocked(hs hashes) relation {
	e := k.entries[hs[0]]
	if e == nil {
		if len(hs) == 1 {
			return same
		}
		return newer
	}
	return relate(e.Value.(*knownHistory).hashes, hs)
}

// listOf returns the list that an entry is in.
func (k *KnownHistories) listOf(e *knownHistory) *list.List {
	if e.stranger {
		return k.strangers
	}
	return k.named
}

// rememberLocked puts a history in place of the one known and keeps to the limit.
func (k *KnownHistories) rememberLocked(hs hashes, stranger bool) {
	id := identity.Identifier(hs[0])
	if e := k.entries[id]; e != nil {
		k.listOf(e.Value.(*knownHistory)).Remove(e)
	}
	entry := &knownHistory{id: id, hashes: hs, stranger: stranger}
	k.entries[id] = k.listOf(entry).PushFront(entry)
	if len(k.entries) <= MaxKnownHistories {
		return
	}
	from := k.strangers
	if from.Len() == 0 {
		from = k.named
	}
	last := from.Remove(from.Back()).(*knownHistory)
	delete(k.entries, last.id)
}

// relation says how a history stands to the one known.
type relation int

const (
	same relation = iota
	older
	newer
	forked
)

// relate compares two histories of one identity. As every change contains the hash of the
// one before, the last common hash speaks for all before it.
func relate(known, presented hashes) relation {
	n := min(len(known), len(presented))
	switch {
	case n == 0 || known[n-1] != presented[n-1]:
		return forked
	case len(presented) < len(known):
		return older
	case len(presented) > len(known):
		return newer
	}
	return same
}
