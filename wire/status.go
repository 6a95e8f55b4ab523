package wire

import "fmt"

// Code is the answer to an opening message.
type Code uint8

// The codes of a status, as on the wire.
const (
	OK          Code = 0  // the service is at the other end of the link
	BadMessage  Code = 1  // the opening message could not be read
	NoService   Code = 2  // no service of that name on the node
	NotAllowed  Code = 3  // the node does not forward there
	Unreachable Code = 4  // the next hop did not answer
	Refused     Code = 5  // the service's target refused the connection
	NotTrusted  Code = 6  // the node does not trust the asker with this
	Loop        Code = 7  // the message has been here before
	TooLong     Code = 8  // the route or the message is over the limit
	Busy        Code = 9  // a limit of the node is reached
	NameTaken   Code = 10 // the name belongs to another identity
	GoingAway   Code = 11 // the node is shutting down
	Timeout     Code = 12 // the opening message did not come in time
	NoSession   Code = 13 // the flow's session is not known on the node

	lastCode = NoSession
)

var codeText = [...]string{
	OK: "ok", BadMessage: "bad message", NoService: "no such service", NotAllowed: "not allowed",
	Unreachable: "not reachable", Refused: "connection refused", NotTrusted: "not trusted",
	Loop: "loop", TooLong: "too long", Busy: "busy", NameTaken: "name taken", GoingAway: "going away",
	Timeout: "too late", NoSession: "no such session",
}

func (c Code) String() string {
	if int(c) < len(codeText) {
		return codeText[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Status answers an opening message. Hop is how many labels the return route had when it was
// answered, which is the ordinal of the node that answers: the first node after the sender is 1.
// Reason is for people: at most MaxReason bytes of printable ASCII.
type Status struct {
	Code   Code
	Hop    uint8
	Reason string
}

// AppendStatus appends s's encoding to dst. A reason that is too long is cut, and what is not
// printable ASCII becomes a question mark.
func AppendStatus(dst []byte, s Status) []byte {
	reason := s.Reason[:min(len(s.Reason), MaxReason)]
	dst = append(dst, byte(s.Code), s.Hop, byte(len(reason)))
	for i := range len(reason) {
		dst = append(dst, printable(reason[i]))
	}
	return dst
}

func printable(c byte) byte {
	if c < ' ' || c > '~' {
		return '?'
	}
	return c
}

// ParseStatus takes a status off the front of b and returns its size, or 0 where b does not hold
// all of it yet.
func ParseStatus(b []byte) (s Status, size int, err error) {
	if len(b) > 0 && Code(b[0]) > lastCode {
		return s, 0, fmt.Errorf("%w: status of unknown code %d", ErrMalformed, b[0])
	}
	if len(b) < statusSize {
		return s, 0, nil
	}
	size = statusSize + int(b[2])
	if b[1] > MaxRoute || b[2] > MaxReason {
		return s, 0, fmt.Errorf("%w: status over the limit", ErrMalformed)
	}
	if len(b) < size {
		return s, 0, nil
	}
	reason := b[statusSize:size]
	for _, c := range reason {
		if printable(c) != c {
			return s, 0, fmt.Errorf("%w: status with an unprintable reason", ErrMalformed)
		}
	}
	return Status{Code: Code(b[0]), Hop: b[1], Reason: string(reason)}, size, nil
}
