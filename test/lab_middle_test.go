//go:build unix

package test

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/wire"
)

// linkKind is what the hello on a link begins, see package channel.
type linkKind byte

const (
	controlLink linkKind = 1
	flowLink    linkKind = 2
)

// middle is a man in the middle who knows what a link is for before he joins it with one to the
// outlet.
type middle struct {
	listener *net.TCPListener
	target   string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	armed  map[linkKind]*shot
	hit    *shot // the latest on a flow's link
	links  map[*faultnet.Link]linkKind
	closed bool
}

// shot is what is to happen on the next link of a kind, and who wants to know which one that is.
type shot struct {
	fault faultnet.Fault
	taken chan *faultnet.Link

	// Guarded by the middle's lock:
	flow  uint64 // which flow its link is for
	later bool   // a link for another flow has been made since
}

func newMiddle(target string) (*middle, error) {
	l, err := net.Listen("tcp", anywhere)
	if err != nil {
		return nil, err
	}
	m := &middle{
		listener: l.(*net.TCPListener), target: target,
		armed: make(map[linkKind]*shot), links: make(map[*faultnet.Link]linkKind),
	}
	m.tasks.Go(m.accept)
	return m, nil
}

func (m *middle) address() string { return m.listener.Addr().String() }

// arm lets f happen on the next link of a kind. The channel delivers that link.
func (m *middle) arm(kind linkKind, f faultnet.Fault) <-chan *faultnet.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := make(chan *faultnet.Link, 1)
	m.armed[kind] = &shot{fault: f, taken: taken}
	return taken
}

func (m *middle) accept() {
	for {
		c, err := m.listener.AcceptTCP()
		if err != nil {
			return
		}
		m.tasks.Go(func() {
			if err := m.join(c); err != nil {
				_ = c.SetLinger(0)
				_ = c.Close()
			}
		})
	}
}

// join looks what c is for and makes a link of it.
func (m *middle) join(c *net.TCPConn) error {
	kind, flow, err := peekHello(c)
	if err != nil {
		return err
	}
	server, err := net.Dial("tcp", m.target)
	if err != nil {
		return err
	}
	config := faultnet.Config{Split: func(dir faultnet.Direction) faultnet.Splitter {
		return splitter(kind, dir)
	}}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		_ = server.Close()
		return net.ErrClosed
	}
	s := m.armed[kind]
	delete(m.armed, kind)
	if s != nil {
		config.Plan = faultnet.Plan{s.fault}
	}
	if kind == flowLink {
		m.noteLocked(flow, s)
	}
	link := faultnet.Join(c, server, config)
	m.links[link] = kind
	m.mu.Unlock()
	if s != nil {
		s.taken <- link
	}
	<-link.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.links, link)
	return nil
}

// noteLocked takes note of a link that is made for a flow, on which s is to happen unless it is
// nil.
func (m *middle) noteLocked(flow uint64, s *shot) {
	switch {
	case s != nil:
		s.flow, m.hit = flow, s
	case m.hit != nil && flow != m.hit.flow:
		m.hit.later = true
	}
}

// passedBy tells whether another flow has come since a flow's link was last attacked. A connection
// that ends well then may never have been on that link: the one before it had not ended yet, and
// made it.
func (m *middle) passedBy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hit != nil && m.hit.later
}

// closeLinks resets the links of a kind, except for one, and returns when they are gone.
func (m *middle) closeLinks(kind linkKind, but *faultnet.Link) {
	m.mu.Lock()
	var links []*faultnet.Link
	for link, k := range m.links {
		if k == kind && link != but {
			links = append(links, link)
		}
	}
	m.mu.Unlock()
	for _, link := range links {
		_ = link.Close()
	}
}

func (m *middle) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	_ = m.listener.Close()
	m.closeLinks(controlLink, nil)
	m.closeLinks(flowLink, nil)
	m.tasks.Wait()
}

// peekHello looks at the first bytes on c, which stay where they are: the opening message, and
// behind it a hello. That of a flow has its number.
func peekHello(c *net.TCPConn) (kind linkKind, flow uint64, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	var fault error
	b := make([]byte, wire.MaxMessage+flowHelloSize)
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK)
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
			return false
		}
		size, e := wire.MessageSize(b[:max(n, 0)])
		switch {
		case err != nil:
			fault = err
		case e != nil:
			fault = e
		case n == 0:
			fault = net.ErrClosed
		case size == 0 || n <= size:
			return false
		case linkKind(b[size]) != flowLink:
			kind = linkKind(b[size])
		case n < size+flowHelloSize:
			return false
		default:
			kind = flowLink
			flow = binary.BigEndian.Uint64(b[size+flowHelloSize-flowNumberSize:])
		}
		return true
	})
	return kind, flow, errors.Join(err, fault)
}

// splitter finds the messages that one direction of a link consists of.
func splitter(kind linkKind, dir faultnet.Direction) faultnet.Splitter {
	record := faultnet.Frames(2, 0)
	switch {
	case dir == faultnet.ServerToClient:
		return faultnet.InTurn(splitStatus, record)
	case kind == controlLink:
		return faultnet.InTurn(splitOpening, splitHandshakeHello, record)
	}
	return faultnet.InTurn(splitOpening, splitFlows())
}

func splitOpening(b []byte) int {
	size, err := wire.MessageSize(b)
	if err != nil || size > len(b) {
		return 0
	}
	return size
}

func splitStatus(b []byte) int {
	_, size, _ := wire.ParseStatus(b)
	return size
}

// splitHandshakeHello splits 1 | length (1) | suite's name | length (2) | handshake message.
func splitHandshakeHello(b []byte) int {
	if len(b) < 2 || len(b) < 2+int(b[1])+2 {
		return 0
	}
	head := 2 + int(b[1]) + 2
	size := head + int(binary.BigEndian.Uint16(b[head-2:]))
	if size > len(b) {
		return 0
	}
	return size
}

const (
	flowNumberSize = 8
	flowHelloSize  = 1 + 16 + flowNumberSize
	endRecordSize  = 2 + 1 + 16 // and no other record has this size
)

// splitFlows splits flows that follow one another: a hello, records, the last of which is the end.
func splitFlows() faultnet.Splitter {
	record := faultnet.Frames(2, 0)
	inFlow := false
	return func(b []byte) int {
		if !inFlow {
			if len(b) < flowHelloSize {
				return 0
			}
			inFlow = true
			return flowHelloSize
		}
		n := record(b)
		if n == endRecordSize {
			inFlow = false
		}
		return n
	}
}
