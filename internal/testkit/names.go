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
	srv   map[string][]net.SRV
	away  bool
	tasks sync.WaitGroup
}

// NewNames has the process ask a new name service, until the test ends. Such a test does not run
// beside others.
func NewNames(t testing.TB) *Names {
	t.Helper()
	n := &Names{of: make(map[string][]netip.Addr), srv: make(map[string][]net.SRV)}
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

// SetService has a name stand for some services, as RFC 2782 says.
func (n *Names) SetService(name string, services ...net.SRV) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.srv[name] = services
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
	answers, known := n.answersLocked(strings.Join(labels, "."), query[end+2])
	n.mu.Unlock()
	flags := uint16(0x8180) // an answer
	if !known {
		flags |= 3 // that there is no such name
	}
	out := append([]byte(nil), query[:2]...)
	for _, v := range []uint16{flags, 1, uint16(len(answers)), 0, 0} {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	out = append(out, question...)
	for _, a := range answers {
		out = append(out, 0xc0, header, 0, query[end+2], 0, 1, 0, 0, 0, 0)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(a))), a...)
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}

// The types of questions that are answered.
const (
	typeA   = 1
	typeSRV = 33
)

// answersLocked returns what is said to a question of a type, and whether there is such a name.
func (n *Names) answersLocked(name string, kind byte) (answers [][]byte, known bool) {
	found, known := n.of[name]
	services, isService := n.srv[name]
	switch kind {
	case typeA:
		for _, a := range found {
			answers = append(answers, a.AsSlice())
		}
	case typeSRV:
		for _, s := range services {
			var data []byte
			for _, v := range []uint16{s.Priority, s.Weight, s.Port} {
				data = binary.BigEndian.AppendUint16(data, v)
			}
			for label := range strings.SplitSeq(s.Target, ".") {
				data = append(append(data, byte(len(label))), label...)
			}
			answers = append(answers, append(data, 0))
		}
	}
	return answers, known || isService
}
