package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

var errNotRegular = errors.New("not a regular file")

// readFile reads a regular file of at most limit bytes. The FileInfo is of the file
// that was read, as it was before reading.
func readFile(path string, limit int64) ([]byte, fs.FileInfo, error) {
	// Looking first keeps us from opening a FIFO, which would block.
	if err := checkRegular(os.Stat(path)); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err := checkRegular(info, err); err != nil {
		return nil, nil, err
	}
	if info.Size() > limit {
		return nil, nil, fmt.Errorf("it has %d bytes, at most %d are allowed", info.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	if int64(len(b)) > limit {
		return nil, nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, info, nil
}

func checkRegular(info fs.FileInfo, err error) error {
	if err != nil {
		return unwrapPath(err)
	}
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	return nil
}

// unwrapPath drops the path from an error, for callers that name it themselves.
func unwrapPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// writeFile writes a file of mode 0600 whole or not at all: into a temporary file beside
// it, to the disk, and then under its name. If replace is false and the name is taken,
// the error is fs.ErrExist, also when two do this at once; the test and the taking are
// one step. If replace is true and path is a symbolic link, what it points to is replaced.
func writeFile(path string, data []byte, replace bool) error {
	if replace {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already if it was renamed
	if err := fill(tmp, data); err != nil {
		return err
	}
	if replace {
		err = os.Rename(tmp.Name(), path)
	} else {
		err = publish(tmp.Name(), path, data)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// publish gives the file tmp its name, unless the name is taken.
func publish(tmp, path string, data []byte) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// The file system has no hard links. Creating the file under its name is as
	// exclusive, but somebody who reads at this moment finds it cut short.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, data); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// fill writes data to f, to the disk, and closes it.
func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// appendFile appends data to a file that exists, with one write, and to the disk.
func appendFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return fill(f, data)
}
