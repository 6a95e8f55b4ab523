package cli

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/linequeue"
	"github.com/secureportal/sp/internal/netio"
)

// What a process has to do waits for nobody who reads its log or the line that says that it is
// ready. Whoever prints to stderr, or is a role and prints to stdout, does so through a queue that
// one goroutine empties; what there is no room for is counted.

// lastWords is how long the end of a process waits for stderr, and then for stdout, to take what it
// has said last.
const lastWords = time.Second

// shared returns a stream of the process as one that others may have open, too.
func shared[T any](stream T) T {
	if f, ok := any(stream).(*os.File); ok {
		if s, ok := any(netio.Share(f)).(T); ok {
			return s
		}
	}
	return stream
}

// isPeers tells whether stderr is the socket that is stdin as well: as a super-server has it, or
// systemd with Accept=yes. What is said there would get into the connection that it is.
func isPeers(stdin io.Reader, stderr io.Writer) bool {
	in, ok1 := stdin.(*os.File)
	err, ok2 := stderr.(*os.File)
	if !ok1 || !ok2 {
		return false
	}
	inInfo, fault1 := in.Stat()
	errInfo, fault2 := err.Stat()
	return fault1 == nil && fault2 == nil && inInfo.Mode()&os.ModeSocket != 0 &&
		os.SameFile(inInfo, errInfo)
}

// isTerminal tells whether w is a device that somebody may sit at.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// insisting writes lines for which a log has room even if it is full.
type insisting struct{ *linequeue.Queue }

// Write implements io.Writer.
func (i insisting) Write(p []byte) (int, error) { return i.Insist(p) }

// outputError is that stdout could not be written.
type outputError struct {
	err  error
	line bool // of a role: whoever has started it should know
}

func (e *outputError) Error() string { return e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// isReaderGone tells whether a command has only to end since nobody reads on, as by a signal, and
// without a word.
func isReaderGone(err error) bool {
	var output *outputError
	return errors.As(err, &output) && !output.line && errors.Is(err, syscall.EPIPE)
}

// results is stdout. That it cannot be written ends the command, whatever that does, and is its
// error. So no command has to look at what printing a line returns. It is safe for concurrent use.
type results struct {
	w     io.Writer        // set once
	stop  func()           // set once; has the command end
	lines *linequeue.Queue // set before anything is written; nil unless nothing may wait

	mu  sync.Mutex
	err error // the first
}

// Write implements io.Writer.
func (r *results) Write(p []byte) (int, error) {
	if r.lines != nil {
		return r.lines.Write(p)
	}
	n, err := r.w.Write(p)
	if err != nil {
		r.failed(err)
	}
	return n, err
}

// detach has nothing wait for stdout any more.
func (r *results) detach() { r.lines = linequeue.New(r.w, linequeue.Config{Fail: r.failed}) }

func (r *results) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = &outputError{err: err, line: r.lines != nil}
		r.stop()
	}
}

// close returns why the command failed: err, unless that was because stdout could not be written.
// Some file systems say so only when a file is closed.
func (r *results) close(err error) error {
	written := r.lines == nil || r.lines.Close(lastWords)
	if c, ok := r.w.(io.Closer); ok && written && r.firstError() == nil && !isReaderGone(err) {
		if end := c.Close(); end != nil && !errors.Is(end, os.ErrClosed) {
			r.failed(end)
		}
	}
	if first := r.firstError(); first != nil {
		return first
	}
	return err
}

func (r *results) firstError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
