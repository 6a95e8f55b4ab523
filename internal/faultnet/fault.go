package faultnet

import (
	"fmt"
	"time"
)

// Direction is one of the two directions of a link.
type Direction int

// The client is the end that dialed the proxy, or the first end of a pipe.
const (
	ClientToServer Direction = iota
	ServerToClient
)

// Other returns the opposite direction.
func (d Direction) Other() Direction { return 1 - d }

// String returns "c2s" or "s2c".
func (d Direction) String() string {
	if d == ClientToServer {
		return "c2s"
	}
	return "s2c"
}

// Unit says what Fault.At counts.
type Unit int

// Byte faults count the bytes of a direction, Message faults its messages, as
// the link's Splitter finds them. Both count from 0. Message faults act first:
// where a plan has both, byte offsets count what the message faults let by.
const (
	Byte Unit = iota
	Message
)

// String returns "byte" or "msg".
func (u Unit) String() string {
	if u == Byte {
		return "byte"
	}
	return "msg"
}

// Kind is what a fault does.
type Kind int

// The kinds. "From its place on" is from byte or message At of direction Dir.
const (
	// Delay makes everything from its place on arrive For later. It pipelines.
	Delay Kind = iota + 1
	// Bandwidth lets Rate bytes a second through from its place on (0 lifts the limit).
	Bandwidth
	// BlackHole lets nothing through from its place on, not even an end, for
	// the time For (0 is forever). Nothing is lost: a sender feels
	// back-pressure, as with a TCP that retransmits, and all of it arrives
	// when the hole closes.
	BlackHole
	// End ends this direction alone with a FIN its sender did not send. What
	// the sender still sends is swallowed.
	End
	// Cut ends both directions with a FIN. What the ends still send is swallowed.
	Cut
	// Reset ends both directions with a RST.
	Reset
	// HalfOpen resets the receiver of Dir; its sender is never told: what it
	// sends is swallowed, and it hears nothing more, not even an end.
	HalfOpen
	// Flip inverts the bits Mask in one byte: byte At, or byte Off of message At.
	Flip
	// Drop takes Len bytes, or one message, out of the stream.
	Drop
	// Duplicate sends Len bytes, or one message, twice.
	Duplicate
	// Reorder swaps Len bytes with the Len that follow, or a message with the
	// next one. What is held back waits until the rest has come, the stream
	// ends, or For (if not 0) has passed; in the latter two cases nothing is
	// swapped and the fault does not count as fired.
	Reorder
	// Truncate takes the tail off: a message keeps its first Off bytes (and
	// loses one at least), and the next message follows. A byte stream has one
	// tail, so there Truncate is End.
	Truncate
)

// kinds names each kind, as plans are printed.
var kinds = map[Kind]string{
	Delay: "delay", Bandwidth: "bandwidth", BlackHole: "blackhole",
	End: "end", Cut: "cut", Reset: "reset", HalfOpen: "halfopen",
	Flip: "flip", Drop: "drop", Duplicate: "duplicate", Reorder: "reorder", Truncate: "truncate",
}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if s, ok := kinds[k]; ok {
		return s
	}
	return fmt.Sprintf("kind%d", int(k))
}

// Fault is one thing that goes wrong in one place.
//
// A fault that ends or slows a direction acts as soon as everything before its
// place has passed; it does not wait for the byte or message to come.
type Fault struct {
	Kind Kind
	Dir  Direction
	Unit Unit
	At   int64 // which byte or message

	// Off is the place inside message At (Unit Message): which byte is
	// flipped, how many bytes are let by before the direction ends, how many
	// Truncate keeps. Negative counts from the end; beyond the message is its end.
	Off int64
	// Len is how many bytes are dropped, duplicated or reordered (Unit Byte). 0 is 1.
	Len int64
	// Mask is the bits that Flip inverts. 0 is 0x01.
	Mask byte
	// For is the time of Delay, BlackHole and Reorder.
	For time.Duration
	// Rate is the bytes a second of Bandwidth.
	Rate int64
}

// maxHold bounds what a fault or a splitter may make the link hold back.
const maxHold = 1 << 20

// steers reports whether f is about the direction and not about its bytes.
func (f Fault) steers() bool {
	switch f.Kind {
	case Delay, Bandwidth, BlackHole:
		return true
	}
	return f.ends()
}

// ends reports whether nothing of the direction comes through after f.
func (f Fault) ends() bool {
	switch f.Kind {
	case End, Cut, Reset, HalfOpen:
		return true
	case Truncate:
		return f.Unit == Byte
	}
	return false
}

// span is the number of bytes of the stream that a byte fault touches.
func (f Fault) span() int64 {
	switch {
	case f.steers():
		return 0
	case f.Kind == Flip:
		return 1
	case f.Kind == Reorder:
		return 2 * f.length()
	}
	return f.length()
}

func (f Fault) length() int64 { return max(f.Len, 1) }

func (f Fault) mask() byte {
	if f.Mask == 0 {
		return 1
	}
	return f.Mask
}

// check says what is wrong with f on its own.
func (f Fault) check() error {
	if _, ok := kinds[f.Kind]; !ok {
		return fmt.Errorf("unknown kind %d", int(f.Kind))
	}
	switch {
	case f.Dir != ClientToServer && f.Dir != ServerToClient:
		return fmt.Errorf("unknown direction %d", int(f.Dir))
	case f.Unit != Byte && f.Unit != Message:
		return fmt.Errorf("unknown unit %d", int(f.Unit))
	case f.At < 0 || f.Len < 0 || f.For < 0 || f.Rate < 0:
		return fmt.Errorf("negative number in %s", f.String())
	case f.span() > maxHold:
		return fmt.Errorf("%s touches more than %d bytes", f.String(), maxHold)
	}
	return nil
}
