package linequeue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reader is a writer that takes lines when it is let, or fails.
type reader struct {
	let chan struct{} // closed, it takes all

	mu    sync.Mutex
	lines []string
	err   error
}

func newReader() *reader { return &reader{let: make(chan struct{})} }

func (r *reader) Write(p []byte) (int, error) {
	<-r.let
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	r.lines = append(r.lines, string(p))
	return len(p), nil
}

func (r *reader) setError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *reader) read() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

func note(lost uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lost) }

// expect waits until the queue has nothing to do, and compares what was read.
func expect(t *testing.T, r *reader, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := r.read(); !slices.Equal(got, want) {
		t.Fatalf("read %q, want %q", got, want)
	}
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		close(r.let)
		q := New(r, Config{})
		text := []byte("a\n")
		_, _ = q.Write(text)
		text[0] = 'x' // it has made a copy
		_, _ = q.Write([]byte("b\n"))
		expect(t, r, "a\n", "b\n")
		for range 2 {
			if !q.Close(time.Second) {
				t.Error("not all was written")
			}
		}
		_, _ = q.Write([]byte("late\n"))
		expect(t, r, "a\n", "b\n")
	})
}

// TestNobodyReads has writers go on, memory stay bounded, and the count come when there is a reader
// again.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		const kept = 10
		q := New(r, Config{Limit: kept * (overhead + 7)})
		q.SetNote(note)
		began := time.Now()
		var want []string
		_, _ = q.Write([]byte("first.\n"))
		synctest.Wait() // it is being written, and takes no room
		for i := range 1000 {
			_, _ = fmt.Fprintf(q, "%6d\n", i)
		}
		if time.Since(began) != 0 {
			t.Errorf("writing has taken %v", time.Since(began))
		}
		want = append(want, "first.\n")
		for i := range kept {
			want = append(want, fmt.Sprintf("%6d\n", i))
		}
		close(r.let)
		expect(t, r, want...)
		_, _ = q.Write([]byte("again\n"))
		want = append(want, "lost 990\n", "again\n")
		expect(t, r, want...)
		_, _ = q.Write([]byte("more\n"))
		expect(t, r, append(want, "more\n")...)
		q.Close(time.Second)
	})
}

// TestErrors has what could not be written be counted, and told of each time.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		close(r.let)
		full := errors.New("full")
		r.setError(full)
		var told []error
		q := New(r, Config{Fail: func(err error) { told = append(told, err) }})
		q.SetNote(note)
		for i := range 3 { // the note is lost, too, and what it tells of is not
			_, _ = fmt.Fprintln(q, i)
			synctest.Wait()
		}
		if len(told) != 5 || !errors.Is(told[0], full) {
			t.Errorf("told of %v", told)
		}
		r.setError(nil)
		_, _ = q.Write([]byte("well\n"))
		expect(t, r, "lost 3\n", "well\n")
		q.Close(time.Second)
	})
}

// TestClose has the end wait for a reader that reads, as long as it may, and not for another.
func TestClose(t *testing.T) {
	const within = time.Second
	for name, test := range map[string]struct {
		after time.Duration // the reader reads; 0 is never
		want  bool
	}{
		"slow": {within / 2, true}, "stuck": {0, false}, "late": {2 * within, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReader()
				q := New(r, Config{Limit: 2 * overhead})
				q.SetNote(note)
				for range 5 {
					_, _ = q.Write([]byte("x\n"))
					synctest.Wait()
				}
				_, _ = q.Insist([]byte("why\n"))
				if test.after > 0 {
					time.AfterFunc(test.after, func() { close(r.let) })
				}
				began := time.Now()
				if got := q.Close(within); got != test.want {
					t.Errorf("closed: %t", got)
				}
				if took := time.Since(began); took > within {
					t.Errorf("that took %v", took)
				}
				if test.after == 0 {
					close(r.let)
				}
				<-q.done
				expect(t, r, "x\n", "x\n", "lost 3\n", "why\n")
			})
		})
	}
}

// TestCountAtTheEnd has the count come even if no line follows.
func TestCountAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		q := New(r, Config{Limit: 1})
		q.SetNote(note)
		_, _ = q.Write([]byte(strings.Repeat("x", 100)))
		close(r.let)
		q.Close(time.Second)
		expect(t, r, "lost 1\n")
	})
}

func TestManyWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		close(r.let)
		q := New(r, Config{})
		var writers sync.WaitGroup
		for i := range 10 {
			writers.Go(func() {
				for range 10 {
					_, _ = fmt.Fprintln(q, i)
				}
			})
		}
		writers.Wait()
		q.Close(time.Second)
		if n := len(r.read()); n != 100 {
			t.Errorf("read %d lines", n)
		}
	})
}
