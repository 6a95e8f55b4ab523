package route

import (
	"context"
	"io"

	"github.com/secureportal/sp/internal/netio"
)

// Services that every node offers behind its secure channel.
const (
	EchoName      = "echo"
	UppercaseName = "uppercase"
)

// HandleBasics offers echo and uppercase, with which a route can be tried out.
func (n *Node) HandleBasics() {
	echo := func([]byte) {}
	n.Handle(EchoName, func(_ context.Context, q *Request) error { return reply(q, echo) })
	n.Handle(UppercaseName, func(_ context.Context, q *Request) error { return reply(q, upper) })
}

// upper makes ASCII letters upper case: only they keep their length.
func upper(b []byte) {
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
}

// reply sends back what comes, changed in place by f, until it ends.
func reply(q *Request, f func([]byte)) error {
	s := q.Accept()
	if err := s.Flush(); err != nil {
		return err
	}
	var room netio.PooledRoom
	defer room.Release()
	for {
		n, err := netio.ReadLazy(s, &room)
		if err == io.EOF {
			return s.CloseWrite()
		}
		if err != nil {
			return err
		}
		b := room.Filled(n)
		f(b)
		if _, err := s.Write(b); err != nil {
			return err
		}
	}
}
