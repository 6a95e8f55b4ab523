package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/userdir"
)

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

// knownFile is the file behind KnownHistories, whose lock guards it.
type knownFile struct {
	path  string // set once
	lines int    // without the header; other processes may have added some
}

// long reports whether most of the lines are superseded by later ones.
func (f *knownFile) long() bool { return f.lines > 2*MaxKnownHistories }

// full reports whether the file is to be made short before the next line.
func (f *knownFile) full() bool { return f.lines >= 2*MaxKnownHistories }

// read returns the histories in the file, and whether its last line is whole. A file that
// is not there is empty.
func (f *knownFile) read() (all []hashes, whole bool, err error) {
	b, _, err := atomicfile.ReadDeciding(f.path, maxSeenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, atomicfile.CheckDeciding(f.path)
	}
	if err != nil {
		return nil, false, err
	}
	text, whole := string(b), true
	if i := strings.LastIndexByte(text, '\n'); i != len(text)-1 {
		text, whole = text[:i+1], false
	}
	all, err = parseSeen(text)
	f.lines = len(all)
	return all, whole, err
}

func parseSeen(text string) ([]hashes, error) {
	header, rest, ok := strings.Cut(text, "\n")
	if !ok || header != seenHeader {
		return nil, fmt.Errorf("not a seen file: its first line is not %q", seenHeader)
	}
	var all []hashes
	number := 1
	for line := range strings.Lines(rest) {
		number++
		hs, err := parseSeenLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		all = append(all, hs)
	}
	return all, nil
}

func parseSeenLine(line string) (hashes, error) {
	words := strings.Split(line, " ")
	if len(words) < 2 || len(words) > identity.MaxChanges {
		return nil, fmt.Errorf("it has %d words, want 2 to %d", len(words), identity.MaxChanges)
	}
	id, err := identity.ParseIdentifier(words[0])
	if err != nil {
		return nil, err
	}
	hs := hashes{id}
	for _, w := range words[1:] {
		h, err := identity.ParseIdentifier("I" + w)
		if err != nil {
			return nil, errors.New("a hash is not 64 lower-case hexadecimal digits")
		}
		hs = append(hs, h)
	}
	return hs, nil
}

func formatSeen(all []hashes) string {
	var b strings.Builder
	b.WriteString(seenHeader + "\n")
	for _, hs := range all {
		b.WriteString(formatSeenLine(hs))
	}
	return b.String()
}

func formatSeenLine(hs hashes) string {
	var b strings.Builder
	b.WriteString(identity.Identifier(hs[0]).String())
	for _, h := range hs[1:] {
		b.WriteString(" " + hex.EncodeToString(h[:]))
	}
	b.WriteString("\n")
	return b.String()
}

// try tells whether the file could be written.
func (f *knownFile) try() error {
	if err := f.makeFolder(); err != nil {
		return err
	}
	return atomicfile.Try(f.path)
}

func (f *knownFile) makeFolder() error { return os.MkdirAll(filepath.Dir(f.path), 0o700) }

// lock keeps other processes from writing the file until unlock is called. It makes the folder.
func (f *knownFile) lock() (unlock func(), err error) {
	if err := f.makeFolder(); err != nil {
		return nil, err
	}
	return atomicfile.Lock(f.path, atomicfile.LockTime)
}

// append adds a line, and creates the file if it is not there.
func (f *knownFile) append(hs hashes) error {
	line := formatSeenLine(hs)
	err := atomicfile.Append(f.path, []byte(line))
	if errors.Is(err, fs.ErrNotExist) {
		err = f.create(line)
	}
	if err != nil {
		return err
	}
	f.lines++
	return nil
}

// create makes the file with its first line, or adds that if somebody else was faster.
func (f *knownFile) create(line string) error {
	err := atomicfile.Create(f.path, []byte(seenHeader+"\n"+line))
	if errors.Is(err, fs.ErrExist) {
		return atomicfile.Append(f.path, []byte(line))
	}
	return err
}

// rewrite replaces the file with one that has a line for each of these.
func (f *knownFile) rewrite(all []hashes) error {
	if err := atomicfile.Replace(f.path, []byte(formatSeen(all))); err != nil {
		return err
	}
	f.lines = len(all)
	return nil
}
