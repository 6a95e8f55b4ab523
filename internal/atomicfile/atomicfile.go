// Package atomicfile reads small files with a limit and writes them so that a crash, a
// full disk or a second process leaves either the old contents or the new ones.
//
// What is written is on the disk when a function returns: the data, and the name in its
// folder. New files have mode 0600, or on Windows a list that says the same. Two processes
// are kept apart by what the system does in one step (rename, link, exclusive creation, and
// one write at the end of a file), and by Lock where one has to read before it writes.
//
// The package never deletes a file that it did not make, and it follows symbolic links as
// the system does. It has one rule for files that decide: see [CheckDeciding].
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Errors that a program may want to tell apart. A file that is not there is
// fs.ErrNotExist, and one that is in the way is fs.ErrExist.
var (
	// ErrNotRegular refuses a folder, a FIFO, a device or a socket.
	ErrNotRegular = errors.New("not a regular file")
	// ErrNotPrivate refuses a file that others than its owner may read or write.
	ErrNotPrivate = errors.New("open to others than its owner")
)

const (
	newFileMode  = 0o600 // of files that are made here
	openFileMode = 0o644 // of those that everybody may read
)

// Read reads a regular file of at most limit bytes. The FileInfo is of the file that was
// read, as it was before reading. Errors do not name the path: callers do.
func Read(path string, limit int64) ([]byte, fs.FileInfo, error) {
	f, info, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info.Size() > limit {
		return nil, nil, fmt.Errorf("it has %d bytes, at most %d are allowed", info.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, WithoutPath(err)
	}
	if int64(len(b)) > limit {
		return nil, nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, info, nil
}

// ReadStart reads the first size bytes of a regular file, and nothing behind them: what a secret
// follows. If there are fewer the error is io.ErrUnexpectedEOF, or io.EOF of an empty file. It is
// like Read otherwise.
func ReadStart(path string, size int) ([]byte, fs.FileInfo, error) {
	f, info, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, nil, WithoutPath(err)
	}
	return b, info, nil
}

// open opens a regular file, which the caller closes.
func open(path string) (*os.File, fs.FileInfo, error) {
	// To open a FIFO would block, so its kind is looked at first.
	if err := checkRegular(os.Stat(path)); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, WithoutPath(err)
	}
	info, err := f.Stat()
	if err := checkRegular(info, err); err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func checkRegular(info fs.FileInfo, err error) error {
	if err != nil {
		return WithoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	return nil
}

// WithoutPath drops operation and path from an error of package os, for callers that name
// the file themselves.
func WithoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// Create makes a file whole or not at all. If the name is taken, the error is
// fs.ErrExist and nothing is written; of several that create it at once one succeeds.
func Create(path string, data []byte) error {
	return write(path, data, newFileMode, func(tmp string) error { return publish(tmp, path, data) })
}

// Replace makes a file, or takes the place of the one that is there, whole or not at
// all. Where path is a symbolic link, the file that it points to is replaced.
func Replace(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return write(path, data, newFileMode, func(tmp string) error { return replace(tmp, path) })
}

// ReplaceOpen is Replace for a file that everybody may read, mode 0644. A symbolic link at path is
// replaced itself, and what it points to stays: it may point to what is not for everybody.
func ReplaceOpen(path string, data []byte) error {
	return write(path, data, openFileMode, func(tmp string) error { return replace(tmp, path) })
}

// write puts data into a temporary file beside path, of some mode, and has it named.
func write(path string, data []byte, mode fs.FileMode, name func(tmp string) error) error {
	dir := filepath.Dir(path)
	tmp, err := createTemp(path)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already if it was renamed
	if mode == newFileMode {
		err = makePrivate(tmp.Name())
	} else {
		err = tmp.Chmod(mode)
	}
	if err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := fill(tmp, data); err != nil {
		return err
	}
	if err := name(tmp.Name()); err != nil {
		return err
	}
	return syncDir(dir)
}

// replace gives the file tmp the name of another one. A device or a pipe is none: whoever names
// /dev/null wants it to stay.
func replace(tmp, path string) error {
	if err := CheckReplaceable(path); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// CheckReplaceable returns ErrNotRegular if there is something at path, or where that leads, that
// is no regular file.
func CheckReplaceable(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	return nil
}

// publish gives the file tmp its name, unless the name is taken.
func publish(tmp, path string, data []byte) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// The file system has no hard links. To create the file under its name is as
	// exclusive, but a reader may find it half written at this moment.
	f, err := createNew(path)
	if err != nil {
		return err
	}
	if err := fill(f, data); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Try tells whether a file at path could be made, replaced and added to, by doing what that takes
// and taking it back: permissions, read-only file systems, names that are too long. Its folder must
// exist. It leaves the file as it is, and nothing beside it.
func Try(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp, err := createTemp(path)
	if err == nil {
		err = errors.Join(tmp.Close(), os.Remove(tmp.Name()))
	}
	if err != nil {
		return fmt.Errorf("folder %s: %w", filepath.Dir(path), WithoutPath(err))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, WithoutPath(err))
	}
	return f.Close()
}

// createTemp makes a file beside path, of newFileMode.
func createTemp(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
}

// Mark makes a file whose existence is what matters. It is created under its name in one
// step; if the name is taken, the error is fs.ErrExist. The data is for people: if it
// cannot be written, that is an error, and the file stays.
func Mark(path string, data []byte) error {
	f, err := createNew(path)
	if err != nil {
		return err
	}
	if err := fill(f, data); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Append adds data to the end of a file that exists, with one write, so that what other
// processes append is neither lost nor torn.
func Append(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return fill(f, data)
}

// MakeDir makes a folder of mode 0700 in one that exists. A folder, or anything else,
// that has the name already is no error.
func MakeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = makePrivate(dir)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func createNew(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, newFileMode)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(path); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// fill writes data to f, to the disk, and closes it.
func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
