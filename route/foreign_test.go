package route

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// Whoever takes the port of another service for that of a node is told so, whatever that service
// says: a banner, an answer, or what it was sent.
func TestForeign(t *testing.T) {
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	for name, serve := range map[string]func(net.Conn){
		"ssh":   says("SSH-2.0-OpenSSH_9.2p1\r\n"),
		"http":  says("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"mysql": says("J\x00\x00\x00\x0a8.0.33\x00"),
		"echo": func(c net.Conn) {
			b := make([]byte, 1<<10)
			n, _ := c.Read(b)
			_, _ = c.Write(b[:n])
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := testkit.Listen(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				testkit.Hurry(t, c)
				serve(c)
				_, _ = io.Copy(io.Discard, c)
			}()
			_, err := newWorld(t).node(t).Ping(testkit.Context(t), ToOutlet(addressOf(l)))
			var foreign *ForeignError
			if !errors.As(err, &foreign) || foreign.Where != l.Addr().String() ||
				!strings.Contains(err.Error(), "does not speak sp") {
				t.Errorf("got %v", err)
			}
			<-done
		})
	}
}
