package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// errTrailing says that an encoding went on after its end.
var errTrailing = errors.New("bytes after the end")

// reader takes an encoding apart from the front. The first error is kept, and
// everything read after it is empty.
type reader struct {
	b   []byte
	err error
}

// take returns the next n bytes, which are part of the input and not a copy.
func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.b) {
		r.err = fmt.Errorf("cut short: %d bytes are missing", n-len(r.b))
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint8() int {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return int(b[0])
}

func (r *reader) uint16() int {
	b := r.take(2)
	if b == nil {
		return 0
	}
	return int(binary.BigEndian.Uint16(b))
}

// seconds reads a time: unix seconds, none later than maxTime.
func (r *reader) seconds(what string) uint64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint64(b)
	if n > maxTime {
		r.fail("%s is after the year 9999", what)
	}
	return n
}

// expect reads one byte that must be want.
func (r *reader) expect(want int, what string) {
	if got := r.uint8(); r.err == nil && got != want {
		r.fail("%s is %d, want %d", what, got, want)
	}
}

// fail keeps an error unless there is one already.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// end returns the first error, or one that says that something was left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = errTrailing
	}
	return r.err
}

var errTime = errors.New("not between the years 1970 and 9999")

// seconds returns t as the encodings have it.
func seconds(t time.Time) (uint64, error) {
	s := t.Unix()
	if s < 0 || s > maxTime {
		return 0, errTime
	}
	return uint64(s), nil
}

func unix(s uint64) time.Time { return time.Unix(int64(s), 0).UTC() }
