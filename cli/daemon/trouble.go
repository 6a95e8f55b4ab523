package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// What is wrong with a process as a whole, or with its machine, and will be felt somewhere else:
// it is told in words, to sp status and sp doctor, and found out when they ask.

const (
	fewFiles       = 256             // a process that may open no more is short of files soon
	fullPart       = 10              // with fewer than a tenth of them left it is
	leastSpace     = 1 << 20         // bytes: a disk with less is full
	turnedAwayLast = 2 * time.Minute // what happened longer ago is over
)

// trouble is what is wrong with the process.
func (d *Daemon) trouble() (all []string) {
	now := time.Now()
	if err := CheckOpenFiles(); err != nil {
		all = append(all, err.Error())
	}
	var folders []string
	for _, u := range d.allUnits() {
		folders = append(folders, writesIn(u.config)...)
	}
	folders = append(folders, d.options.WriteIn...) // the log's
	for _, err := range CheckSpace(folders) {
		all = append(all, err.Error())
	}
	for _, s := range d.allSites() {
		for _, err := range s.presented.check(now) {
			all = append(all, err.Error())
		}
		for _, m := range s.allMembers() {
			if t := m.tells.Load(); t != nil && t.directory != nil {
				if down := t.directory().trouble(); down != "" {
					all = append(all, down)
				}
			}
			why, ago, ever := m.node.Refusing()
			if ever && ago < turnedAwayLast {
				all = append(all, fmt.Sprintf("it was at a limit %s ago, and turned somebody away: %s",
					ago.Round(time.Second), why))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// writesIn are the folders that a node writes in as long as it runs, but for that of its log.
func writesIn(c config.Config) []string {
	return append(writeFolders(c), foldersOf(c.Node.Trust.AllowFiles)...)
}

// check tells which credentials nobody believes now.
func (s *presented) check(now time.Time) (all []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.tokens {
		c, err := identity.ParseCredential(s.credentials[i])
		if err == nil {
			err = CheckTime(c, now)
		}
		if err != nil {
			all = append(all, fmt.Errorf("credential file %s: %w", f.path, err))
		}
	}
	return all
}

// CheckTime tells why a credential is not valid at now, and what to think of first.
func CheckTime(c *identity.Credential, now time.Time) error {
	shows := "this machine's clock shows " + now.UTC().Format(time.RFC3339)
	switch {
	case now.Before(c.NotBefore()):
		return fmt.Errorf("%w: it begins at %s, and %s: if that is slow, set it",
			identity.ErrNotYetValid, c.NotBefore().UTC().Format(time.RFC3339), shows)
	case !now.Before(c.Expires()):
		return fmt.Errorf("%w at %s, and %s: put a new one in its place, or set the clock",
			identity.ErrExpired, c.Expires().UTC().Format(time.RFC3339), shows)
	}
	return nil
}

// CheckOpenFiles tells whether the process can open few files more, or may have few at all.
func CheckOpenFiles() error {
	const raise = "raise the limit (ulimit -n, or LimitNOFILE= of systemd)"
	most, known := maxOpenFiles()
	if !known {
		return nil
	}
	free, err := freeDescriptor()
	switch {
	case err != nil:
		return fmt.Errorf("descriptors are short: all %d files that the process may open are open: %s",
			most, raise)
	case most-free < most/fullPart:
		return fmt.Errorf("descriptors are short: %d of the %d files that the process may open are "+
			"open: %s", free, most, raise)
	case most <= fewFiles:
		return fmt.Errorf("descriptors are few: the process may open %d files, and a connection takes "+
			"%d: %s", most, filesPerConnection, raise)
	}
	return nil
}

// CheckSpace tells which disks are full, by folders that are to be written in. Those that are not
// there yet stand for the nearest that is.
func CheckSpace(folders []string) (all []error) {
	folders = slices.Clone(folders)
	slices.Sort(folders)
	for _, folder := range slices.Compact(folders) {
		folder = existing(folder)
		free, known := freeSpace(folder)
		if known && free < leastSpace {
			all = append(all, fmt.Errorf("the disk is full: there is no room left in %s (%d bytes)",
				folder, free))
		}
	}
	return all
}

// existing returns a folder, or the nearest above it that is there.
func existing(folder string) string {
	for {
		_, err := os.Stat(folder)
		above := filepath.Dir(folder)
		if err == nil || above == folder {
			return folder
		}
		folder = above
	}
}

func foldersOf(files []string) (all []string) {
	for _, file := range files {
		all = append(all, filepath.Dir(file))
	}
	return all
}

// WritesIn returns the folders that a node writes in: those of its key, of known histories, and of
// what tickets end up in.
func WritesIn(n config.Node) ([]string, error) {
	key, err1 := identity.DefaultPath()
	seen, err2 := trust.DefaultKnownHistoriesPath()
	if n.Identity != "" {
		key, err1 = n.Identity, nil
	}
	if n.Trust.Seen != "" {
		seen, err2 = n.Trust.Seen, nil
	}
	all := foldersOf(append([]string{cmp.Or(key, "."), cmp.Or(seen, ".")}, n.Trust.AllowFiles...))
	return all, errors.Join(err1, err2)
}
