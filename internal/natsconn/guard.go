package natsconn

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
)

// Limits of what a server may say. The client's library believes every size that it is told.
const (
	maxLine    = 4 << 10  // bytes of a line, which is the most that servers take themselves
	maxInfo    = 64 << 10 // bytes of one that says what the server is
	maxPayload = 8 << 20  // bytes of a message: what servers are recommended to have at most
)

// errForeign says that somebody is no NATS server, or one that lies.
var errForeign = errors.New("what it says is not NATS")

// guard is a connection to a server of which nobody hears what is not plausible: it ends there.
// What is written passes. Reads are one caller's at a time.
type guard struct {
	net.Conn
	scan  scanner
	ahead []byte // to be read before anything else
	err   error
}

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	switch {
	case g.err != nil:
		return 0, g.err
	case len(g.ahead) > 0:
		n := copy(p, g.ahead)
		g.ahead = g.ahead[n:]
		return n, nil
	}
	n, err := g.Conn.Read(p)
	if wrong := g.scan.feed(p[:n]); wrong != nil {
		g.err = wrong
		_ = g.Conn.Close()
		return 0, wrong
	}
	return n, err
}

// endOfLine ends every line and every payload. Who says anything else is refused: where one of them
// ends would be read in two ways, and what the library takes for a size is what counts.
const endOfLine = "\r\n"

// scanner follows what a server says, wherever reads cut it.
type scanner struct {
	line    []byte // the part of one that has come
	payload int    // bytes until its end of line
	end     string // what has to come of that, which is before the next line
}

// feed takes note of b, and returns errForeign if no server says that.
func (s *scanner) feed(b []byte) error {
	for len(b) > 0 {
		switch {
		case s.payload > 0:
			n := min(s.payload, len(b))
			s.payload -= n
			b = b[n:]
		case s.end != "":
			if b[0] != s.end[0] {
				return errForeign
			}
			s.end, b = s.end[1:], b[1:]
		default:
			n, err := s.feedLine(b)
			if err != nil {
				return err
			}
			b = b[n:]
		}
	}
	return nil
}

// feedLine takes note of what is of one line in b, which is not empty, and returns how much it is.
func (s *scanner) feedLine(b []byte) (n int, err error) {
	end := bytes.IndexByte(b, '\n')
	part := b
	if end >= 0 {
		part = b[:end+1]
	}
	if len(s.line)+len(part) > s.most(part) {
		return 0, errForeign
	}
	if end < 0 {
		s.line = append(s.line, part...)
		return len(part), nil
	}
	whole := part
	if len(s.line) > 0 {
		whole = append(s.line, part...)
	}
	if err := s.handle(whole); err != nil {
		return 0, err
	}
	if s.line = s.line[:0]; cap(s.line) > maxLine {
		s.line = nil
	}
	return len(part), nil
}

// most is how long the line may be that part belongs to.
func (s *scanner) most(part []byte) int {
	begin := s.line
	if len(begin) == 0 {
		begin = part
	}
	if begin[0] == 'I' || begin[0] == 'i' {
		return maxInfo
	}
	return maxLine
}

// handle looks at a whole line: at how it ends, and how many bytes it says are behind it.
func (s *scanner) handle(line []byte) error {
	line, ended := bytes.CutSuffix(line, []byte(endOfLine))
	if !ended || bytes.IndexByte(line, '\r') >= 0 || len(line) == 0 || isBlank(rune(line[0])) {
		return errForeign
	}
	words := bytes.FieldsFunc(line, isBlank)
	least, headers := 4, false // MSG SUBJECT SUBSCRIPTION [REPLY] SIZE
	switch strings.ToUpper(string(words[0])) {
	case "INFO", "PING", "PONG", "+OK", "-ERR":
		return nil
	case "MSG":
	case "HMSG":
		least, headers = 5, true // HMSG SUBJECT SUBSCRIPTION [REPLY] OF-HEADERS SIZE
	default:
		return errForeign
	}
	if len(words) < least || len(words) > least+1 {
		return errForeign
	}
	size, ok := parseSize(words[len(words)-1])
	if !ok {
		return errForeign
	}
	if headers {
		if of, ok := parseSize(words[len(words)-2]); !ok || of > size {
			return errForeign
		}
	}
	s.payload, s.end = size, endOfLine
	return nil
}

// isBlank tells what is between words: to the library as well, and nothing else is.
func isBlank(c rune) bool { return c == ' ' || c == '\t' }

func parseSize(word []byte) (int, bool) {
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(word), 10, 31)
	return int(n), err == nil && n <= maxPayload
}
