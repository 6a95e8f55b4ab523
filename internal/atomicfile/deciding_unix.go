//go:build unix

package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/secureportal/sp/internal/shellword"
)

const (
	othersWrite = 0o022 // of a mode: the group or others may write
	maxLinks    = 40    // symbolic links on the way to a file
)

// errTooManyLinks is of a path that leads round and round.
var errTooManyLinks = errors.New("too many symbolic links on the way")

// CheckDeciding tells why the file or folder at path must not decide anything, with
// [ErrOthersWrite], or returns nil. What is not there passes; the folders that are there do not
// pass for that. The error names what is wrong and says how to put it right.
func CheckDeciding(path string) error {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	at, links := string(filepath.Separator), 0
	rest := words(absolute)
	if err := checkEntry(at); err != nil {
		return err
	}
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		if word == ".." {
			at = filepath.Dir(at)
			continue
		}
		entry := filepath.Join(at, word)
		target, err := os.Readlink(entry)
		if err != nil {
			target = ""
		}
		if err := checkEntry(entry); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if target == "" {
			at = entry
			continue
		}
		if links++; links > maxLinks {
			return errTooManyLinks
		}
		if filepath.IsAbs(target) {
			at = string(filepath.Separator)
		}
		rest = append(words(target), rest...)
	}
	return nil
}

// words are the names in a path, without those that lead nowhere.
func words(path string) []string {
	all := strings.Split(path, string(filepath.Separator))
	return slices.DeleteFunc(all, func(w string) bool { return w == "" || w == "." })
}

// checkEntry checks one name on the way, and does not follow it.
func checkEntry(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return checkInfo(path, info)
}

// checkInfo is checkEntry of what the entry was when info was taken.
func checkInfo(path string, info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	mode := info.Mode()
	switch {
	case !mayOwn(owner.Uid) && !(info.IsDir() && isUnmapped(owner.Uid)):
		return fmt.Errorf("%w: %s belongs to user %d, and neither to root nor to user %d",
			ErrOthersWrite, path, owner.Uid, os.Geteuid())
	case mode&fs.ModeSymlink != 0, mode.Perm()&othersWrite == 0:
		return nil
	case info.IsDir() && (mode&fs.ModeSticky != 0 || isReadOnly(path)):
		return nil
	}
	return fmt.Errorf("%w: the mode of %s is %04o: run \"chmod go-w %s\"",
		ErrOthersWrite, path, mode.Perm(), shellword.Quote(path))
}

func mayOwn(user uint32) bool { return user == 0 || int64(user) == int64(os.Geteuid()) }

// CheckPrivate refuses a file that anybody but its owner may use, with [ErrNotPrivate].
// info is of the file at path; the error says how to put it right.
//
// A file of root's that a group may read, and nobody else, passes if the group is one of this
// process's own, or root's where this process is not root: that is how Kubernetes (fsGroup) and
// systemd (LoadCredential) hand a secret to a process that is not to own it. In a container the
// process may well be root all the same.
func CheckPrivate(path string, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	if mode&0o077 == 0 || mode&0o037 == 0 && isHandedOver(info) {
		return nil
	}
	return fmt.Errorf("%w: its mode is %04o: run \"chmod 600 %s\"",
		ErrNotPrivate, mode, shellword.Quote(path))
}

func isHandedOver(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 {
		return false
	}
	if owner.Gid == 0 {
		return os.Geteuid() != 0
	}
	groups, _ := os.Getgroups()
	return int64(owner.Gid) == int64(os.Getegid()) ||
		slices.Contains(groups, int(owner.Gid))
}

// isUnmapped tells whether a user is how the kernel shows everybody who has no number in this
// process's user namespace.
func isUnmapped(user uint32) bool {
	who, ok := unmapped()
	return ok && user == who
}

var unmapped = sync.OnceValues(func() (user uint32, ok bool) {
	// Outside of user namespaces the map says that all numbers are themselves.
	all, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || slices.Equal(strings.Fields(string(all)), []string{"0", "0", "4294967295"}) {
		return 0, false
	}
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscan(string(text), &user)
	return user, err == nil
})
