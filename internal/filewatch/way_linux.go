package filewatch

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links are followed on the way to a file.
const maxLinks = 40

// way is what has to be watched for some files: their folders, those of the symbolic links on the
// way to them, and the folders above, which may be replaced as well.
type way struct {
	folders map[string]names // by their real paths
}

// names are those in a folder that matter. A folder that has none matters itself.
type names []string

// add adds what is on the way to path. What is not there yet is watched for in the folder that is.
func (w *way) add(path string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return // there is no folder to begin with
	}
	at, rest := root(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			w.watch(at, name)
			return
		case info.Mode()&fs.ModeSymlink != 0:
			w.watch(at, name)
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return
			}
			if filepath.IsAbs(target) {
				var first []string
				at, first = root(target)
				rest = slices.Concat(first, rest)
			} else {
				rest = slices.Concat(strings.Split(target, string(filepath.Separator)), rest)
			}
		case info.IsDir() && len(rest) > 0:
			w.watch(next, "")
			at = next
		default:
			w.watch(at, name)
			return
		}
	}
}

// root splits an absolute path into what it begins with and the names behind that.
func root(path string) (at string, rest []string) {
	at = filepath.VolumeName(path) + string(filepath.Separator)
	return at, strings.Split(strings.TrimPrefix(path, at), string(filepath.Separator))
}

// watch adds a folder, and a name in it unless that is empty.
func (w *way) watch(folder, name string) {
	if w.folders == nil {
		w.folders = make(map[string]names)
	}
	all := w.folders[folder]
	if name != "" && !slices.Contains(all, name) {
		all = append(all, name)
	}
	w.folders[folder] = all
}
