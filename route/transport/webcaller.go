package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/mux"
)

// Carrying is a connection that has come in and is no link: many links come on it. To whoever
// accepts it, it is a stranger's, as a link is that has not said anything yet.
type Carrying interface {
	Link

	// Carry hands the links that come to serve, which does not wait, and returns when there will be
	// no more: it closes the connection. run runs something that Carry's caller waits for. What the
	// other side has to say before the first link, and that one, have to come within a time. When
	// ctx ends, the other side is told that no more are taken here: it then dials anew, and may find
	// somebody else. Those that are open go on.
	Carry(
		ctx context.Context, run func(func()) bool, within time.Duration, serve func(Link),
	) error
}

// webCaller is somebody who has come to where WebSockets are to be had. He may be a browser.
type webCaller struct {
	Link
	path          string
	budget        *mux.Budget // of all that come to one node
	local, remote urlAddr
}

var _ Carrying = (*webCaller)(nil)

// LocalAddr implements net.Conn.
func (c *webCaller) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *webCaller) RemoteAddr() net.Addr { return c.remote }

// Reset implements netio.Resetter.
func (c *webCaller) Reset() error { return netio.Reset(c.Link) }

// Stuck tells netio whether what is sent arrives.
func (c *webCaller) Stuck() (times int, sending bool) { return netio.Stuck(c.Link) }

// NoteSends has netio told when something is sent.
func (c *webCaller) NoteSends(n *netio.Note) { netio.NoteSends(c.Link, n) }

// Carry implements Carrying.
func (c *webCaller) Carry(
	ctx context.Context, run func(func()) bool, within time.Duration, serve func(Link),
) error {
	on := newBearer(c.Link)
	defer on.linger()
	_ = on.SetDeadline(time.Now().Add(within))
	ws, err := c.answer(on)
	if err != nil {
		return err
	}
	_ = on.SetDeadline(time.Time{})
	b := newBearing(on, acceptorIdle, c.local, c.remote)
	return b.carry(ctx, newCarrier(ws, on), mux.Config{Budget: c.budget}, run, within, serve)
}

// What a caller wanted, if it was no WebSocket.
var (
	errPage     = errors.New("a page was asked for")
	errNoPath   = errors.New("a path was asked for that is not there")
	errProtocol = errors.New("something else than sp was asked for on a WebSocket")
)

// answer reads a request, and answers it with a WebSocket, or with a page and an error.
func (c *webCaller) answer(on *bearer) (*websocket.Conn, error) {
	head := &limited{from: on, left: maxHead}
	in := bufio.NewReader(head)
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, err
	}
	head.left = -1
	w := &responder{on: on, in: in, header: make(http.Header), bodiless: r.Method == http.MethodHead}
	switch {
	case !isPath(r.URL, c.path) && r.URL.Path != "/":
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return nil, errNoPath
	case !has(r.Header, "Upgrade", "websocket"):
		c.showPage(w, r)
		return nil, errPage
	case !isPath(r.URL, c.path):
		http.Error(w, "There is no WebSocket here.", http.StatusNotFound)
		return nil, errNoPath
	case !has(r.Header, "Sec-WebSocket-Protocol", webProtocol):
		http.Error(w, "This WebSocket is for "+webProtocol+" only.", http.StatusBadRequest)
		return nil, errProtocol
	}
	return websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{webProtocol}})
}

// isPath tells whether a URL has a path, in whichever spelling.
func isPath(u *url.URL, path string) bool {
	plain, err := url.PathUnescape(path)
	return err == nil && u.Path == plain
}

// has tells whether one of the words of a header is word.
func has(h http.Header, name, word string) bool {
	return slices.ContainsFunc(h.Values(name), func(all string) bool {
		return slices.ContainsFunc(strings.Split(all, ","), func(one string) bool {
			return strings.EqualFold(strings.TrimSpace(one), word)
		})
	})
}

// page is for somebody who has come with a browser.
const page = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>sp</title>
<h1>A node of sp is here</h1>
<p>There is nothing to see with a browser. <code>sp</code> makes services reachable through secure
channels, and this is how its programs come by where nothing but the web gets through.</p>
<p>It is at <code>%s</code>, behind wss://, or ws:// where this page has come without TLS.</p>
</html>
`

// showPage tells a browser what is here.
func (c *webCaller) showPage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "There is a page here, and a WebSocket.", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintf(w, page, html.EscapeString(Printable(r.Host+c.path)))
}

// limited lets so many bytes through; any number if left is negative.
type limited struct {
	from io.Reader
	left int
}

var errLongHead = errors.New("the head of a request is too long")

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return l.from.Read(p)
	}
	if l.left == 0 {
		return 0, errLongHead
	}
	n, err := l.from.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// responder is an http.ResponseWriter on a connection that has one answer.
type responder struct {
	on       *bearer
	in       *bufio.Reader
	header   http.Header
	begun    bool
	bodiless bool
}

var _ http.Hijacker = (*responder)(nil)

// Header implements http.ResponseWriter.
func (w *responder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *responder) WriteHeader(code int) {
	if w.begun {
		return
	}
	w.begun = true
	if code != http.StatusSwitchingProtocols {
		w.header.Set("Connection", "close")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	_ = w.header.Write(&b)
	b.WriteString("\r\n")
	_, _ = io.WriteString(w.on, b.String()) // what is written next fails as well
}

// Write implements http.ResponseWriter.
func (w *responder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.bodiless {
		return len(p), nil
	}
	return w.on.Write(p)
}

// Hijack implements http.Hijacker.
func (w *responder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.on, bufio.NewReadWriter(w.in, bufio.NewWriter(w.on)), nil
}
