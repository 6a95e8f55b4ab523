package trust

import (
	"errors"
	"fmt"
	"slices"

	"github.com/secureportal/sp/identity"
)

// lists is what was last read from the files. It never changes, except that changed is
// closed when another has taken its place.
type lists struct {
	allow, deny map[identity.Identifier]location
	revoked     map[Serial]location // credentials
	changed     chan struct{}
}

// location is where in the files an identity is named.
type location struct {
	path string
	line int
}

func (l location) String() string { return fmt.Sprintf("%s:%d", l.path, l.line) }

func listFiles(kind string, paths []string) []*listFile {
	files := make([]*listFile, len(paths))
	for i, path := range paths {
		files[i] = newListFile(kind, path)
	}
	return files
}

// Changed returns a channel that is closed at the next change of whom the policy trusts.
// Take the channel first and Check then, and no change is missed. Rotations do not close
// it, nor does the end of a credential: see Decision.Until.
func (p *Policy) Changed() <-chan struct{} { return p.lists.Load().changed }

// Reload reads all files again. A file that cannot be read, or has an error in it, keeps
// its old list; the error names the file and line, and those of all such files are
// joined.
func (p *Policy) Reload() error { return p.refresh((*listFile).load) }

// Poll reads the files that have changed since they were read: another inode, size or
// time of change. It costs a stat a file. Errors are those of Reload, except that the
// same one is not returned twice in a row. What a deny file does not name any more counts
// when the next Poll finds it unchanged: it may be in the middle of being written.
func (p *Policy) Poll() error { return p.refresh((*listFile).poll) }

// reloadAllowed is Reload of the allow files: a deny file may be in the middle of being written.
func (p *Policy) reloadAllowed() error {
	return p.refresh(func(f *listFile) error {
		if f.kind == denyKind {
			return nil
		}
		return f.load()
	})
}

func (p *Policy) refresh(read func(*listFile) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	fresh := false
	for _, f := range slices.Concat(p.allowFiles, p.denyFiles) {
		errs = append(errs, read(f))
		fresh = fresh || f.fresh
		f.fresh = false
	}
	if fresh {
		p.publish()
	}
	return errors.Join(errs...)
}

// publish lets Check see what has been read, and tells those who wait for a change.
func (p *Policy) publish() {
	old := p.lists.Load()
	fresh := &lists{
		allow:   merge(p.allowFiles, (*listFile).identities),
		deny:    merge(p.denyFiles, (*listFile).identities),
		revoked: merge(p.denyFiles, (*listFile).credentials), changed: old.changed,
	}
	if sameKeys(old.allow, fresh.allow) && sameKeys(old.deny, fresh.deny) &&
		sameKeys(old.revoked, fresh.revoked) {
		p.lists.Store(fresh) // lines may have moved
		return
	}
	fresh.changed = make(chan struct{})
	p.lists.Store(fresh)
	close(old.changed)
}

func (f *listFile) identities() map[identity.Identifier]int { return f.ids }
func (f *listFile) credentials() map[Serial]int             { return f.serials }

// lookAgain reads the files that came later than the policy, or may still, if they have changed,
// and reports whether they have. It is for the moment before somebody is refused: who has just
// made such a file, and comes at once, must not be faster than whoever calls Poll. What is wrong
// with a file Poll will say.
func (p *Policy) lookAgain() bool {
	if len(p.laterFiles) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := false
	for _, f := range p.laterFiles {
		if f.file.Changed() && f.read(true) != nil {
			f.file.Again()
		}
		changed = changed || f.fresh
		f.fresh = false
	}
	if changed {
		p.publish()
	}
	return changed
}

// merge returns what some files name; the first file that names one counts.
func merge[K comparable](
	files []*listFile, of func(*listFile) map[K]int,
) map[K]location {
	m := make(map[K]location)
	for _, f := range files {
		for name, line := range of(f) {
			if _, ok := m[name]; !ok {
				m[name] = location{f.path, line}
			}
		}
	}
	return m
}

// sameKeys reports whether two maps have the same keys.
func sameKeys[K comparable, V any](a, b map[K]V) bool {
	if len(a) != len(b) {
		return false
	}
	for id := range a {
		if _, ok := b[id]; !ok {
			return false
		}
	}
	return true
}
