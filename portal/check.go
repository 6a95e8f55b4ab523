package portal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// How a service is checked.
const (
	DefaultCheckInterval = 5 * time.Second // between two checks
	checkTimeout         = 5 * time.Second // for an answer
	checkFails           = 2               // in a row, until a service that was well is not
	checkPasses          = 2               // in a row, until one that was not is
	checkSoon            = time.Second     // between two checks of which the second decides
	checkLine            = 512             // bytes of an answer's first line
	checkRest            = 64 << 10        // bytes of the rest, which are thrown away
	// checkLeave is how long the service has to end a connection that asks for nothing.
	checkLeave = 250 * time.Millisecond
)

// Check asks a service again and again whether it is well: a connection can be made to it, or it
// answers a request of HTTP with a status below 400. The first answer decides; later ones do when
// two are alike, and come in a row. Its fields are not changed once Run has been called; it is safe
// for concurrent use.
type Check struct {
	at      transport.Address
	request string // empty: to connect is enough

	Interval time.Duration // between two checks; 0 means DefaultCheckInterval
	Logger   *slog.Logger  // gets what it finds; nil means slog.Default

	soon chan struct{} // gets something when somebody has found that the service is not well

	mu      sync.Mutex
	sick    error         // why it is not well; nil: it is, as far as is known
	changed chan struct{} // closed, and made anew, when that changes
}

// ParseCheck reads what to ask of the service at target: "tcp", or a URL of http, which without a
// host is asked of target.
func ParseCheck(text string, target transport.Address) (*Check, error) {
	c := &Check{at: target, soon: make(chan struct{}, 1), changed: make(chan struct{})}
	if text == "tcp" {
		return c, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Opaque != "" || u.User != nil {
		return nil, fmt.Errorf("%s is neither tcp nor http://HOST:PORT/PATH",
			transport.Printable(text))
	}
	host := u.Host
	switch {
	case host == "":
		host = "localhost"
	case u.Port() == "":
		host = net.JoinHostPort(u.Hostname(), "80")
	}
	if u.Host != "" {
		if c.at, err = transport.Parse(host); err != nil {
			return nil, err
		}
	}
	c.request = "GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: sp\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	return c, nil
}

// Address returns what is connected to.
func (c *Check) Address() transport.Address { return c.at }

// Run checks until ctx ends.
func (c *Check) Run(ctx context.Context) {
	fails, passes := checkFails-1, checkPasses-1 // the first one decides
	for {
		err := c.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			fails, passes = 0, passes+1
		} else {
			fails, passes = fails+1, 0
		}
		pause := orElse(c.Interval, DefaultCheckInterval)
		switch sick, _ := c.IsSick(); {
		case !sick && fails >= checkFails:
			c.set(err)
		case sick && passes >= checkPasses:
			c.set(nil)
		case !sick && fails > 0, sick && passes > 0:
			pause = min(pause, checkSoon)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.soon:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// ask asks once, and returns why the service is not well.
func (c *Check) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	dialed, err := transport.DialGuarded(ctx, c.at, checkTimeout)
	if err != nil {
		return err
	}
	conn := wrap(dialed)
	defer conn.Close()
	if c.request == "" {
		leave(conn)
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(conn, c.request); err != nil {
		return err
	}
	answer := bufio.NewReaderSize(io.LimitReader(conn, checkRest), checkLine)
	line, err := answer.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("no answer to the request: %w", err)
	}
	if err := judgeAnswer(string(line)); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, answer) // or the service would see a reset
	return nil
}

// leave ends a connection so that the service does not see a reset, whatever it says to whoever
// comes.
func leave(conn netio.Conn) {
	_ = conn.SetDeadline(time.Now().Add(checkLeave))
	_ = conn.CloseWrite()
	_, _ = io.CopyN(io.Discard, conn, checkRest)
}

var errNoHTTP = errors.New("the answer is not HTTP")

// judgeAnswer tells whether an answer with that first line says that the service is well.
func judgeAnswer(line string) error {
	line = strings.TrimRight(line, "\r\n")
	protocol, status, ok := strings.Cut(line, " ")
	if !ok || !strings.HasPrefix(protocol, "HTTP/1.") || len(status) < 3 {
		return errNoHTTP
	}
	code := status[:3]
	if len(status) > 3 && status[3] != ' ' || strings.Trim(code, "0123456789") != "" {
		return errNoHTTP
	}
	if code < "200" || code >= "400" {
		return fmt.Errorf("the service answers with %s", transport.Printable(status))
	}
	return nil
}

// IsSick tells whether the service is not well. The channel is closed when that changes.
func (c *Check) IsSick() (sick bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sick != nil, c.changed
}

// hasten has the service checked soon: a connection to it has failed.
func (c *Check) hasten() {
	if c == nil {
		return
	}
	select {
	case c.soon <- struct{}{}:
	default:
	}
}

// refusal returns how a stream is refused while the service is not well, or nil.
func (c *Check) refusal() error {
	sick := c.whySick()
	if sick == nil {
		return nil
	}
	return route.RefuseBecause(wire.Unreachable, "the target is not well", sick)
}

// whySick says why the service is not well, or returns nil. c may be nil.
func (c *Check) whySick() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sick
}

func (c *Check) set(sick error) {
	c.mu.Lock()
	c.sick = sick
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	logger := loggerOr(c.Logger)
	if sick != nil {
		logger.Warn("the target is not well: new connections are refused until it is",
			"check", transport.Format(c.at), "error", sick)
		return
	}
	logger.Info("the target is well again", "check", transport.Format(c.at))
}
