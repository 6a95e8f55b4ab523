package ask

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/secureportal/sp/wire"
)

// MaxHead is how many bytes the head of a request of HTTP has at most, its empty line included.
const MaxHead = 16 << 10

// StatusError says why a request of HTTP is not done, and with which status that is told.
type StatusError struct {
	Status int
	Err    error
}

func (e *StatusError) Error() string { return e.Err.Error() }

// Unwrap returns ErrMalformed or ErrUnsupported, or what wraps one of them.
func (e *StatusError) Unwrap() error { return e.Err }

var endOfHead = []byte("\r\n\r\n")

// ParseConnect reads the head of a request of CONNECT (RFC 9110, section 9.3.6) at the front of b.
// A size of 0 without an error is that b has not all of it yet. What its fields say is for others.
// An error is a *StatusError.
func ParseConnect(b []byte) (to wire.Address, size int, err error) {
	end := bytes.Index(b[:min(len(b), MaxHead)], endOfHead)
	switch {
	case end >= 0:
	case len(b) >= MaxHead:
		return to, 0, &StatusError{
			http.StatusRequestHeaderFieldsTooLarge,
			fmt.Errorf("%w: the head of a request has more than %d bytes", ErrMalformed, MaxHead),
		}
	default:
		return to, 0, nil
	}
	size = end + len(endOfHead)
	line, _, _ := bytes.Cut(b[:end], []byte("\r\n"))
	method, rest, ok1 := strings.Cut(string(line), " ")
	target, protocol, ok2 := strings.Cut(rest, " ")
	switch {
	case !ok1 || !ok2 || !strings.HasPrefix(protocol, "HTTP/1."):
		return to, size, badRequest("no request of HTTP/1")
	case method != http.MethodConnect:
		return to, size, &StatusError{
			http.StatusMethodNotAllowed,
			fmt.Errorf("a request that is no CONNECT: %w", ErrUnsupported),
		}
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return to, size, badRequest("CONNECT takes HOST:PORT")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return to, size, badRequest("CONNECT takes HOST:PORT, and a port is a number up to 65535")
	}
	if to, err = Where(host, uint16(number)); err != nil {
		return to, size, &StatusError{http.StatusBadRequest, err}
	}
	return to, size, nil
}

func badRequest(what string) error {
	return &StatusError{http.StatusBadRequest, fmt.Errorf("%w: %s", ErrMalformed, what)}
}

// AppendEstablished appends the answer that the connection is there: what follows is the far end's.
func AppendEstablished(dst []byte) []byte {
	return append(dst, "HTTP/1.1 200 Connection established\r\n\r\n"...)
}

// AppendStatus appends the answer that there is no connection, with a reason for people, which is
// one line of printable text.
func AppendStatus(dst []byte, status int, reason string) []byte {
	dst = fmt.Appendf(dst, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	if status == http.StatusMethodNotAllowed {
		dst = append(dst, "Allow: CONNECT\r\n"...)
	}
	return fmt.Appendf(dst, "Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\n\r\nsp: %s\n", len("sp: ")+len(reason)+1, reason)
}
