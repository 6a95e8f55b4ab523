// Package filewatch tells when a file has to be read again, and which errors of reading it
// are worth telling.
//
// A [File] is looked at with stat whenever [File.Changed] is called: another inode, size or time of
// change makes it another file. Whoever has files has a [Watcher] say when, calls Changed for each
// of them then, and reads those that may have changed, with its own function and its own limits.
//
// On Linux the kernel says when: a change is noticed at once, and nothing is done in between. What
// is done to a file on a network's file system, by others, is noticed within 2 seconds, and where
// there is no inotify, as on other systems, within 0.4; twice that if the file was in the middle of
// being written.
//
// The package reads no contents and logs nothing.
package filewatch

import (
	"io/fs"
	"os"
	"time"
)

const (
	// Interval is the least time between two looks. A file that was in the middle of being
	// written is looked at again after it.
	Interval = 200 * time.Millisecond

	// settleTime is how long a file must have been left alone before its size and time
	// of change are believed to say that it is the same: two writes in quick succession
	// can bear the same time.
	settleTime = 2 * time.Second
)

// File is a file that is read again when it changes. One goroutine at a time may use it.
//
//	if f.Changed() {
//	    b, err := read(f.Path())
//	    if err != nil || f.Changing() {
//	        f.Again() // and keep what was read before
//	    }
//	}
type File struct {
	path string // set once

	info    fs.FileInfo // of the file at the last look; nil: it must be read
	settled bool        // it had been left alone for long enough then

	failing string // the error of the last try to read; empty: none
	told    string // the error that was told last, unless reading has succeeded since
}

// New returns a file that has not been looked at. It need not exist.
func New(path string) *File { return &File{path: path} }

// Path returns what New was given.
func (f *File) Path() string { return f.path }

// Changed looks at the file, and reports whether it may be another than at the last look.
// It is true at the first look, for a file that is not there, and for one that was written
// a moment ago.
func (f *File) Changed() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return true
	}
	same := f.settled && Same(f.info, now)
	f.info, f.settled = now, time.Since(now.ModTime()) > settleTime
	return !same
}

// Changing reports whether the file is another than at the last look. After reading, it
// says whether somebody is writing the file just now.
func (f *File) Changing() bool {
	now, err := os.Stat(f.path)
	return err != nil || !Same(f.info, now)
}

// Again makes the next Changed report true, whatever it finds.
func (f *File) Again() { f.info = nil }

// Once returns the error of a try to read the file if it is worth telling: nil stays nil,
// and an error is not told again before it is another one or reading has succeeded.
func (f *File) Once(err error) error { return f.tell(err, true) }

// Twice is Once for files that are half written now and then: it tells an error when it is
// there at two tries in a row.
func (f *File) Twice(err error) error { return f.tell(err, false) }

func (f *File) tell(err error, atOnce bool) error {
	if err == nil {
		f.failing, f.told = "", ""
		return nil
	}
	text := err.Error()
	seen := f.failing == text
	f.failing = text
	if !seen && !atOnce || f.told == text {
		return nil
	}
	f.told = text
	return err
}

// Same reports whether a file has been left alone between two looks at it. before is nil if there
// was no look.
func Same(before, now fs.FileInfo) bool {
	return before != nil && os.SameFile(before, now) &&
		before.Size() == now.Size() && before.ModTime().Equal(now.ModTime())
}
