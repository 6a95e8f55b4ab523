package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// kafkaAway is for how long a broker lets nobody in before that is said, and between two times
	// that it is said.
	kafkaAway = 30 * time.Second

	// maxAway is of how many brokers it is known that they do not. A broker names others as it likes.
	maxAway = 64
)

// kafkaOutages knows which brokers of a cluster cannot be reached, or let this node in no more: the
// client tries again and again, and says nothing. It is safe for concurrent use.
type kafkaOutages struct {
	say func(error) // nil says nothing

	mu   sync.Mutex // guards what follows
	away map[string]kafkaOutage
}

// kafkaOutage is since when a broker cannot be reached, and when that was said.
type kafkaOutage struct{ since, said time.Time }

var _ kgo.HookBrokerConnect = (*kafkaOutages)(nil)

// OnBrokerConnect implements kgo.HookBrokerConnect: err is also of who was not let in.
func (o *kafkaOutages) OnBrokerConnect(
	at kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error,
) {
	if errors.Is(err, context.Canceled) || o.say == nil {
		return
	}
	which := net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))
	if since, due := o.note(which, time.Now(), err == nil); due {
		o.say(fmt.Errorf("the broker at %s cannot be reached, for %v now, and is tried again: %w",
			Printable(which), time.Since(since).Round(time.Second), withoutOperation(err)))
	}
}

// note takes note of an attempt, and returns whether it is time to say something.
func (o *kafkaOutages) note(which string, now time.Time, isIn bool) (since time.Time, due bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out, known := o.away[which]
	switch {
	case isIn:
		delete(o.away, which)
		return since, false
	case !known && len(o.away) >= maxAway:
		return since, false
	case o.away == nil:
		o.away = make(map[string]kafkaOutage)
	}
	if !known {
		out.since = now
	}
	due = now.Sub(out.since) >= kafkaAway && now.Sub(out.said) >= kafkaAway
	if due {
		out.said = now
	}
	o.away[which] = out
	return out.since, due
}
