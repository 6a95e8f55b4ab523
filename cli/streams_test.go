package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/linequeue"
)

// stuckWriter takes nothing until it is let.
type stuckWriter struct {
	let chan struct{}

	mu sync.Mutex
	b  bytes.Buffer
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	<-w.let
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// TestLostLines has a log tell, in its own format, how many lines are missing, whatever its level.
func TestLostLines(t *testing.T) {
	for format, want := range map[string]string{
		"text": `level=WARN msg="lines are missing here: the log was not read, or not written" ` +
			`"left out"=`,
		"json": `"level":"WARN","msg":"lines are missing here: the log was not read, or not ` +
			`written","left out":`,
	} {
		t.Run(format, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &stuckWriter{let: make(chan struct{})}
				q := linequeue.New(w, linequeue.Config{Limit: 1000})
				logger, err := newLogger(format, "error", q)
				if err != nil {
					t.Fatal(err)
				}
				for range 100 {
					logger.Error("trouble")
				}
				close(w.let)
				synctest.Wait()
				logger.Error("more trouble")
				q.Close(lastWords)
				text := w.b.String()
				kept := strings.Count(text, "trouble") - 1
				if !strings.Contains(text, want+fmt.Sprint(100-kept)) || kept < 1 ||
					!strings.Contains(text, "more trouble") {
					t.Errorf("of 100 lines it has kept %d:\n%s", kept, text)
				}
			})
		})
	}
}

// failing is a stdout that cannot be written.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestOutputFails has whatever keeps results from being written be the command's error, once.
func TestOutputFails(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	for name, err := range map[string]error{
		"full":           syscall.ENOSPC,
		"over the quota": syscall.EDQUOT,
		"broken":         syscall.EIO,
		"not writable":   syscall.EBADF,
		"a timeout":      syscall.EAGAIN,
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			args := []string{"sp", "identity", "create", "--force", "--json", key}
			code := Main(Build{}, args, strings.NewReader(""), failing{err}, &stderr)
			if want := "sp: " + err.Error() + "\n"; code != exitFailed || stderr.String() != want {
				t.Errorf("exit code %d, and it says %q", code, stderr.String())
			}
		})
	}
}

// closing is a file whose disk is full, which is known when it is closed.
type closing struct {
	io.Writer
	err error
}

func (c closing) Close() error { return c.err }

// TestOutputFailsAtTheEnd has a file system that tells late be heard, and another error stay what
// it is.
func TestOutputFailsAtTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		closing, before, want error
	}{
		"well":           {nil, nil, nil},
		"full":           {syscall.ENOSPC, nil, syscall.ENOSPC},
		"closed already": {os.ErrClosed, nil, nil},
		"another error":  {nil, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			stopped := false
			r := &results{w: closing{io.Discard, test.closing}, stop: func() { stopped = true }}
			say(r, "hello")
			if err := r.close(test.before); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if stopped != (test.closing == syscall.ENOSPC) {
				t.Errorf("stopped: %t", stopped)
			}
		})
	}
}

// TestRoleWaitsForNoReader has what a role prints wait for nobody, at its end no longer than a
// moment, and a failure end it.
func TestRoleWaitsForNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuckWriter{let: make(chan struct{})}
		r := &results{w: w, stop: func() { t.Error("it is stopped") }}
		r.detach()
		began := time.Now()
		say(r, "ready")
		if err := r.close(nil); err != nil || time.Since(began) != lastWords {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(w.let)
	})
	synctest.Test(t, func(t *testing.T) {
		stopped := false
		r := &results{w: failing{syscall.EPIPE}, stop: func() { stopped = true }}
		r.detach()
		say(r, "ready")
		synctest.Wait()
		err := r.close(nil)
		if !errors.Is(err, syscall.EPIPE) || exitCode(err) != exitFailed || isReaderGone(err) ||
			!stopped {
			t.Errorf("%v, stopped: %t", err, stopped)
		}
	})
}
