package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// errTrailing says that an encoding went on after its end.
var errTrailing = errors.New("bytes after the end")

// decoder takes an encoding apart, from the front. It keeps the first error, and whatever
// is read after that is empty.
type decoder struct {
	b   []byte
	err error
}

// take returns the next n bytes, which are part of the input and not a copy.
func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.b) {
		d.err = fmt.Errorf("cut short: %d bytes are missing", n-len(d.b))
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) uint8() int {
	b := d.take(1)
	if b == nil {
		return 0
	}
	return int(b[0])
}

func (d *decoder) uint16() int {
	b := d.take(2)
	if b == nil {
		return 0
	}
	return int(binary.BigEndian.Uint16(b))
}

// seconds reads a time: unix seconds, none later than maxTime.
func (d *decoder) seconds(what string) uint64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint64(b)
	if n > maxTime {
		d.fail("%s is after the year 9999", what)
	}
	return n
}

// expect reads one byte that must be want.
func (d *decoder) expect(want int, what string) {
	if got := d.uint8(); d.err == nil && got != want {
		d.fail("%s is %d, want %d", what, got, want)
	}
}

// fail keeps an error unless there is one already.
func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// end returns the first error, or one that says that something was left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = errTrailing
	}
	return d.err
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
