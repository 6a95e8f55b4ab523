package test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// targets has a service be at each target of a command.
func (s *stage) targets(m *machine, command string) {
	s.t.Helper()
	all := stageTarget.FindAllStringSubmatch(command, -1)
	if last := stageLast.FindStringSubmatch(command); last != nil &&
		!strings.Contains(command, "--target") {
		all = append(all, last)
	}
	for _, found := range all {
		for target := range strings.SplitSeq(found[1], ",") {
			if _, behind, named := strings.Cut(target, "="); named {
				target = behind
			}
			if path, ok := strings.CutPrefix(target, "unix:"); ok && !filepath.IsAbs(path) {
				target = "unix:" + filepath.Join(m.home, path)
			}
			if target != "-" && target != "bench:" && !strings.Contains(target, "/24:") {
				s.serve(strings.TrimPrefix(target, "tls://"))
			}
		}
	}
}

// serve has a service be somewhere: it says what a client has said, and pages by HTTP, and it
// speaks TLS with who begins so.
func (s *stage) serve(where string) {
	s.t.Helper()
	if s.services[where] {
		return
	}
	s.services[where] = true
	if address, ok := strings.CutPrefix(where, "udp://"); ok {
		s.serveDatagrams(address)
		return
	}
	network, address := networkOf(where)
	l, err := net.Listen(network, address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.answer(c)
		}
	}()
}

// peeked is a connection of which some has been looked at.
type peeked struct {
	net.Conn
	r io.Reader
}

func (c peeked) Read(p []byte) (int, error) { return c.r.Read(p) }

func (s *stage) answer(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	if first, err := r.Peek(1); err == nil && first[0] == 0x16 {
		c = tls.Server(peeked{c, r}, &tls.Config{Certificates: []tls.Certificate{s.tls}})
		r = bufio.NewReader(c)
	}
	line, err := r.ReadString('\n')
	if err != nil && line == "" {
		return
	}
	if strings.HasPrefix(line, "GET ") {
		all := bufio.NewReader(io.MultiReader(strings.NewReader(line), r))
		if _, err := http.ReadRequest(all); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nit works\n")
		}
		return
	}
	_, _ = io.WriteString(c, "you said: "+line)
}

func (s *stage) serveDatagrams(address string) {
	s.t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if n > 2 {
				b[2] |= 0x80 // an answer, if it is DNS
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
}

// use has a client of an inlet talk to the service behind it.
func (s *stage) use(m *machine, where string) {
	s.t.Helper()
	if path, ok := strings.CutPrefix(where, "unix:"); ok && !filepath.IsAbs(path) {
		where = "unix:" + filepath.Join(m.home, path)
	}
	if address, ok := strings.CutPrefix(where, "udp://"); ok {
		s.useDatagrams(address)
		return
	}
	c, err := dialWhere(where)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var rw io.ReadWriter = c
	if strings.Contains(strings.Join(s.block.lines, "\n"), "--sni ") {
		rw = tls.Client(c, &tls.Config{ServerName: "wiki.example.com", InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(rw, "hello\n"); err != nil {
		s.t.Fatal(err)
	}
	answer, err := bufio.NewReader(rw).ReadString('\n')
	if err != nil || answer != "you said: hello\n" {
		s.t.Errorf("through %s the service says %q, %v", where, answer, err)
	}
	s.answers++
}

func (s *stage) useDatagrams(address string) {
	s.t.Helper()
	c, err := net.Dial("udp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	if _, err := c.Write([]byte("hello")); err != nil {
		s.t.Fatal(err)
	}
	if n, err := c.Read(b); err != nil || n != 5 {
		s.t.Errorf("through udp://%s the service says %q, %v", address, b[:n], err)
	}
	s.answers++
}
