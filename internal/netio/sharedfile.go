package netio

import (
	"io"
	"os"
)

// SharedFile is a file that others have open too, by the same open file description: stdin, stdout
// and stderr are the parent's, the shell's and each other's. Whoever has it may make it
// non-blocking at any time, and it is not for this process to change that: a read or write that
// cannot go on waits until it can. It is as safe for concurrent use as *os.File.
type SharedFile struct{ file *os.File }

// Share returns f as such a file.
func Share(f *os.File) *SharedFile { return &SharedFile{f} }

var _ io.ReadWriteCloser = (*SharedFile)(nil)

// Read implements io.Reader.
func (s *SharedFile) Read(p []byte) (int, error) {
	for {
		n, err := s.file.Read(p)
		if n > 0 || !s.mayGoOn(err, readable) {
			return n, err
		}
	}
}

// Write implements io.Writer.
func (s *SharedFile) Write(p []byte) (int, error) {
	done := 0
	for {
		n, err := s.file.Write(p[done:])
		done += n
		if !s.mayGoOn(err, writable) {
			return done, err
		}
	}
}

// Close closes this process's descriptor. It does not end a read or write that waits.
func (s *SharedFile) Close() error { return s.file.Close() }

// CloseWrite passes on that nothing more is written: of a socket it ends the direction, for which
// closing is not enough where others, or another descriptor of this process, have it; anything else
// it closes.
func (s *SharedFile) CloseWrite() error {
	if ended, err := s.shutdown(); ended {
		return err
	}
	return s.file.Close()
}

// Reset closes the file so that the other end of a TCP connection sees an error and not an end,
// once all who have it have closed it.
func (s *SharedFile) Reset() error {
	s.lingerNot()
	return s.file.Close()
}
