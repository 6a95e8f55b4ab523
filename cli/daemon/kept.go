package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/confine"
)

// Folders are some that a process reads and writes in beside those that its configuration names.
type Folders struct{ Read, Write []string }

// keptFolders are those that a confined process can still read and write in. Nil is all. What a
// later configuration needs beyond them takes a restart, and that is known before it is tried.
type keptFolders struct{ read, write []string }

func keep(n confine.Needs) *keptFolders {
	return &keptFolders{
		read: realNames(slices.Concat(n.ReadIn, n.WriteIn)), write: realNames(n.WriteIn),
	}
}

func realNames(folders []string) (all []string) {
	for _, folder := range folders {
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			if real, err = filepath.Abs(real); err == nil {
				all = append(all, real)
			}
		}
	}
	return all
}

// allow returns nil if a configuration whose node is who files say can be run by the process as it
// is. That an allow file cannot be written is for tryOut.
func (k *keptFolders) allow(c config.Config, files selfFiles) error {
	if k == nil {
		return nil
	}
	t := c.Node.Trust
	named := slices.Concat([]string{files.key}, c.Node.Credentials, t.AllowFiles, t.DenyFiles)
	if files.friends != "" {
		named = append(named, files.friends)
	}
	for _, folder := range confine.Folders(named...) {
		if !isWithin(folder, k.read) {
			return needsRestart("reading in %s", folder)
		}
	}
	_, err := os.Stat(files.key)
	if os.IsNotExist(err) && !isWithin(filepath.Dir(files.key), k.write) {
		return needsRestart("making the key file %s, which is not there,", files.key)
	}
	for _, folder := range writeFolders(c) {
		if !isWithin(folder, k.write) {
			return needsRestart("writing in %s", folder)
		}
	}
	return nil
}

// isWithin tells whether a folder is one of some, or below. One that is not there is for others to
// complain about.
func isWithin(folder string, some []string) bool {
	real, err := filepath.EvalSymlinks(folder)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return os.IsNotExist(err)
	}
	return slices.ContainsFunc(some, func(one string) bool {
		return real == one || one == "/" || strings.HasPrefix(real, one+string(filepath.Separator))
	})
}

func needsRestart(format string, args ...any) error {
	return &Error{Problem: NeedsRestart, Err: fmt.Errorf(
		format+" is what this process has given up at its start", args...)}
}
