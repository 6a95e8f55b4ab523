package daemon

import (
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
	logged  string // the error that the log has
	expired bool   // what is in it
	early   bool   // it is not valid yet
}

// settleTime is how old a file's time must be to be relied on: one that was written a moment ago
// can be written again within the same tick of the clock.
const settleTime = 2 * time.Second

// stamp takes note of the file as it is, and reports whether it may be another than at the last
// stamp.
func (f *watchedFile) stamp() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return true
	}
	same := f.settled && f.info != nil && os.SameFile(f.info, now) &&
		f.info.Size() == now.Size() && f.info.ModTime().Equal(now.ModTime())
	f.info, f.settled = now, time.Since(now.ModTime()) > settleTime
	return !same
}

// take reads the file if it may have changed, or must, and reports what read does. An error is
// logged when it is there twice in a row, for the file may be half written, and not again before
// it is another.
func (f *watchedFile) take(must bool, logger *slog.Logger, read func() (bool, error)) bool {
	if !f.stamp() && !must && f.failing == "" {
		return false
	}
	changed, err := read()
	if err == nil {
		f.failing, f.logged = "", ""
		return changed
	}
	text := err.Error()
	if (must || f.failing == text) && f.logged != text {
		logger.Error("not read, and the one before stays in force", "error", text)
		f.logged = text
	}
	f.failing = text
	return false
}
