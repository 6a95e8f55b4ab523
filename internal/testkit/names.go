package testkit

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// Names is a name service of a test's own, for IPv4. It is safe for concurrent use.
type Names struct {
	mu    sync.Mutex
	of    map[string][]netip.Addr
	away  bool
	tasks sync.WaitGroup
}

// NewNames has the process ask a new name service, until the test ends. Such a test does not run
// beside others.
func NewNames(t testing.TB) *Names {
	t.Helper()
	n := &Names{of: make(map[string][]netip.Addr)}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: n.dial}
	t.Cleanup(func() {
		net.DefaultResolver = before
		n.tasks.Wait()
	})
	return n
}

// Set has a name stand for some addresses.
func (n *Names) Set(name string, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of[name] = nil
	for _, a := range addresses {
		n.of[name] = append(n.of[name], netip.MustParseAddr(a))
	}
}

// GoAway has nobody answer any more.
func (n *Names) GoAway() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = true
}

// errAway says that the name service is away.
var errAway = errors.New("the name service is away")

func (n *Names) dial(context.Context, string, string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		return nil, errAway
	}
	near, far := net.Pipe()
	n.tasks.Go(func() {
		defer far.Close()
		for n.answer(far) == nil {
		}
	})
	return near, nil
}

// answer answers a question as RFC 1035 says, over a stream.
func (n *Names) answer(c net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, query); err != nil {
		return err
	}
	const header = 12
	end, labels := header, []string(nil)
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		labels = append(labels, string(query[end+1:next]))
		end = next
	}
	question := query[header : end+5]
	n.mu.Lock()
	found, known := n.of[strings.Join(labels, ".")]
	n.mu.Unlock()
	if query[end+2] != 1 { // its type is not A
		found = nil
	}
	flags := uint16(0x8180) // an answer
	if !known {
		flags |= 3 // that there is no such name
	}
	out := append([]byte(nil), query[:2]...)
	for _, v := range []uint16{flags, 1, uint16(len(found)), 0, 0} {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	out = append(out, question...)
	for _, a := range found {
		out = append(out, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, a.AsSlice()...)
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}
