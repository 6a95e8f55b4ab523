package transport

import (
	"errors"
	"sync"
)

// What the client of Kafka has been given and no broker has taken, counted here: the client's own
// limits would have who sends wait inside of it, where nobody can hurry him.
const (
	// kafkaUnsent is the most bytes of messages that wait to be taken by a broker, and kafkaShort
	// those of short ones besides: beats, answers and ends do not wait for what is carried.
	kafkaUnsent = 4 << 20
	kafkaShort  = 1 << 20

	// kafkaUnderWay is how many bytes of them are no sign that the broker is slow: what is taken is
	// known when all copies of it have been made.
	kafkaUnderWay = 64 << 10

	// kafkaRecord is what each of them counts as besides its bytes, and kafkaRecords twice how many
	// that are at most.
	kafkaRecord  = 256
	kafkaRecords = 2 * (kafkaUnsent + kafkaShort) / kafkaRecord

	// shortMessage is the most bytes of one that counts as short.
	shortMessage = 256
)

// errHurried says that a message was not sent, for the connection to the broker is being ended.
var errHurried = errors.New("the connection to the broker is being ended")

// kafkaRoom is room for messages of one kind that wait to be taken. It is safe for concurrent use.
type kafkaRoom struct {
	most int

	mu     sync.Mutex // guards what follows
	used   int
	change chan struct{} // closed when less is used; nil if nobody waits
}

// take waits for room for n bytes, and takes it. An error is of what ends the waiting: errHurried
// when hurry is closed, and why's when lost is.
func (r *kafkaRoom) take(n int, hurry, lost <-chan struct{}, why func() error) error {
	for {
		r.mu.Lock()
		if r.used == 0 || r.used+n <= r.most {
			r.used += n
			r.mu.Unlock()
			return nil
		}
		if r.change == nil {
			r.change = make(chan struct{})
		}
		change := r.change
		r.mu.Unlock()
		select {
		case <-change:
		case <-lost:
			return why()
		case <-hurry:
			return errHurried
		}
	}
}

// taken returns how much of the room is.
func (r *kafkaRoom) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// give gives room back.
func (r *kafkaRoom) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	if r.change != nil {
		close(r.change)
		r.change = nil
	}
}
