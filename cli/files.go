package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// watchedFile is a file that is read again when it changes. It belongs to one goroutine.
type watchedFile struct {
	path    string
	info    fs.FileInfo
	settled bool   // it had been left alone for a while when it was stamped
	failing string // what was wrong at the last look
	told    string // what has been logged
	expired bool   // what is in it
}

// settleTime is how long a file must have been left alone before it is believed to have changed if its time has.
const settleTime = 2 * time.Second

// stamp takes note of the file as it is, and reports whether it may be another than at the last stamp.
func (f *watchedFile) stamp() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return true
	}
	same := f.settled && f.info != nil && os.SameFile(f.info, now) && f.info.Size() == now.Size() && f.info.ModTime().Equal(now.ModTime())
	f.info, f.settled = now, time.Since(now.ModTime()) > settleTime
	return !same
}

// take reads the file if it may have changed, or must, and reports what read does. An error is logged when it is there
// twice in a row, for the file may be half written, and not again before it is another.
func (f *watchedFile) take(must bool, logger *slog.Logger, read func() (bool, error)) bool {
	if !f.stamp() && !must && f.failing == "" {
		return false
	}
	changed, err := read()
	if err == nil {
		f.failing, f.told = "", ""
		return changed
	}
	text := err.Error()
	if (must || f.failing == text) && f.told != text {
		logger.Error("not read, and the one before stays in force", "error", text)
		f.told = text
	}
	f.failing = text
	return false
}

// maxText bounds a file, or what comes on stdin, that holds one word or a route, in bytes.
const maxText = 64 << 10

// readText reads a small file of text, which may be a pipe.
func readText(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", unwrapPath(err)
	}
	defer f.Close()
	text, err := readAllText(f)
	return text, unwrapPath(err)
}

// readAllText reads a small text to its end.
func readAllText(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("it has more than %d bytes", maxText)
	}
	return string(b), err
}

// unwrapPath drops the path from an error, for callers that name it themselves.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
