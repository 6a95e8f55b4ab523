package ask

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/secureportal/sp/wire"
)

// SOCKS 5 is RFC 1928. What a client says:
//
//	greeting = version (1) = 5 | count (1) | methods
//	request  = version (1) = 5 | command (1) | 0 | kind (1) | address | port (2)
//	address  = IPv4 (4), length (1) and name, or IPv6 (16)
//
// and what it is told:
//
//	choice = version (1) = 5 | method (1)
//	reply  = version (1) = 5 | reply (1) | 0 | kind (1) = 1 | 0.0.0.0 | port (2) = 0
const (
	version4 = 4
	version5 = 5

	methodNone     = 0x00 // no authentication
	methodNoneGood = 0xff

	commandConnect = 1

	kindIP4  = 1
	kindName = 3
	kindIP6  = 4

	greetingSize = 2 // without methods
	requestSize  = 4 // without address and port
	portSize     = 2
)

// MaxSOCKS is how many bytes a greeting or a request has at most.
const MaxSOCKS = requestSize + 1 + 255 + portSize

// Reply is what a client of SOCKS 5 is told of its request.
type Reply uint8

// The replies.
const (
	Succeeded          Reply = 0
	Failed             Reply = 1
	NotAllowed         Reply = 2
	NetworkUnreachable Reply = 3
	HostUnreachable    Reply = 4
	ConnectionRefused  Reply = 5
	CommandUnsupported Reply = 7
	AddressUnsupported Reply = 8
)

// RequestError says why a request of SOCKS 5 is not done, and how that is told.
type RequestError struct {
	Reply Reply
	Err   error
}

func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns ErrMalformed or ErrUnsupported, or what wraps one of them.
func (e *RequestError) Unwrap() error { return e.Err }

// ParseGreeting reads a greeting at the front of b. A size of 0 without an error is that b has not
// all of it yet. open tells whether the client does without authentication.
func ParseGreeting(b []byte) (open bool, size int, err error) {
	if len(b) > 0 && b[0] != version5 {
		return false, 0, fmt.Errorf("%w: version %d of SOCKS", ErrMalformed, b[0])
	}
	if len(b) < greetingSize || len(b) < greetingSize+int(b[1]) {
		return false, 0, nil
	}
	size = greetingSize + int(b[1])
	for _, method := range b[greetingSize:size] {
		open = open || method == methodNone
	}
	return open, size, nil
}

// AppendChoice appends the answer to a greeting: no authentication, or that nothing will do.
func AppendChoice(dst []byte, open bool) []byte {
	if open {
		return append(dst, version5, methodNone)
	}
	return append(dst, version5, methodNoneGood)
}

// ParseRequest reads a request at the front of b. A size of 0 without an error is that b has not
// all of it yet. The error of a request that has been read is a *RequestError.
func ParseRequest(b []byte) (to wire.Address, size int, err error) {
	if len(b) > 0 && b[0] != version5 {
		return to, 0, fmt.Errorf("%w: version %d of SOCKS", ErrMalformed, b[0])
	}
	if len(b) <= requestSize {
		return to, 0, nil
	}
	begin, length := requestSize, 0
	switch b[3] {
	case kindIP4:
		length = 4
	case kindIP6:
		length = 16
	case kindName:
		begin, length = requestSize+1, int(b[requestSize])
	default:
		return to, 0, &RequestError{
			AddressUnsupported, fmt.Errorf("an address of kind %d: %w", b[3], ErrUnsupported),
		}
	}
	size = begin + length + portSize
	if len(b) < size {
		return to, 0, nil
	}
	if b[1] != commandConnect {
		return to, size, &RequestError{
			CommandUnsupported,
			fmt.Errorf("command %d of SOCKS, which is no CONNECT: %w", b[1], ErrUnsupported),
		}
	}
	port := binary.BigEndian.Uint16(b[begin+length:])
	to, err = whereSOCKS(b[3], b[begin:begin+length], port)
	if err != nil {
		err = &RequestError{Failed, err}
	}
	return to, size, err
}

func whereSOCKS(kind byte, host []byte, port uint16) (wire.Address, error) {
	if kind == kindName {
		return Where(string(host), port)
	}
	ip, _ := netip.AddrFromSlice(host)
	return Where(ip.String(), port)
}

// AppendReply appends the answer to a request. Where the connection comes from, at the far end, is
// nobody's business, and zeros.
func AppendReply(dst []byte, r Reply) []byte {
	return append(dst, version5, byte(r), 0, kindIP4, 0, 0, 0, 0, 0, 0)
}

// AppendRefusal4 appends the answer to a client of SOCKS 4, which is not spoken.
func AppendRefusal4(dst []byte) []byte { return append(dst, 0, 0x5b, 0, 0, 0, 0, 0, 0) }
