// Package textfile reads small texts: a file, or a stream, that holds one word or a route.
package textfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MaxSize is the most bytes that a text may have.
const MaxSize = 64 << 10

// Read reads the file at path, which may be a pipe. Its error does not name the path: the caller
// says which file that is.
func Read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", withoutPath(err)
	}
	defer f.Close()
	text, err := ReadAll(f)
	return text, withoutPath(err)
}

// ReadAll reads r to its end.
func ReadAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(b) > MaxSize {
		err = fmt.Errorf("it has more than %d bytes", MaxSize)
	}
	return string(b), err
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
