package udp

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/metrics"
)

// reason is why datagrams are dropped.
type reason uint8

const (
	slow   reason = iota // the stream takes them more slowly than they come
	full                 // no more flows
	failed               // the client's flow has just failed
	large                // more bytes than MaxDatagram
	unsent               // the system does not send it
	reasons
)

var reasonText = [reasons]string{
	slow: "slow", full: "full", failed: "failed", large: "large", unsent: "unsent",
}

var reasonMeaning = [reasons]string{
	slow:   "the way is slower than they come: the oldest go",
	full:   "as many clients as there may be are here already: the new ones are not heard",
	failed: "the client's flow has failed, and it is not heard for a second",
	large:  "they have more bytes than are carried",
	unsent: "this system cannot send them",
}

var dropped = func() (all [reasons]*metrics.Counter) {
	for why := range reasons {
		all[why] = metrics.NewCounter("datagrams_dropped_total",
			"datagrams of UDP that were not carried",
			metrics.Label{Name: "reason", Value: reasonText[why]})
	}
	return all
}()

// drops counts what is dropped, and says so in the log once in a while. A nil *drops does nothing.
type drops struct {
	logger *slog.Logger
	about  []any

	mu    sync.Mutex
	each  [reasons]logthrottle.Throttle
	count [reasons]uint64 // since the last line
}

// add counts n datagrams. err says why in words, or is nil.
func (d *drops) add(why reason, n int, err error) {
	if n == 0 || d == nil {
		return
	}
	dropped[why].Add(uint64(n))
	d.mu.Lock()
	d.count[why] += uint64(n)
	all := d.count[why]
	due := d.each[why].Due(time.Now())
	if due {
		d.count[why] = 0
	}
	d.mu.Unlock()
	if !due {
		return
	}
	fields := append([]any{"reason", reasonMeaning[why], "dropped", all}, d.about...)
	if err != nil {
		fields = append(fields, "error", err)
	}
	level := slog.LevelInfo
	if why == full {
		level = slog.LevelWarn
	}
	d.logger.Log(context.Background(), level, "datagrams are dropped", fields...)
}
