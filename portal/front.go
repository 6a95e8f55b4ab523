package portal

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/printable"
	"github.com/secureportal/sp/portal/ask"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

const (
	// askTimeout is how long a client may take to say where it wants to go.
	askTimeout = 10 * time.Second
	// askRead is how many bytes of that are read at once.
	askRead = 512
	// replyTimeout is how long a client may take to take an answer.
	replyTimeout = 5 * time.Second
)

// errAsksNothing says that a client has come and said nothing, as those do who look whether a port
// is open.
var errAsksNothing = errors.New("the client asks for nothing")

// What a client does that does not say where it wants to go.
var (
	errSlow = errors.New("the client has not said in time where it wants to go")
	errLeft = fmt.Errorf("the client has left, and not said where it wants to go: %w",
		io.ErrUnexpectedEOF)
)

// front is what an inlet says to a client that says where it wants to go: SOCKS 5 or CONNECT.
type front struct {
	app   netio.Conn
	speak ask.Protocol
	ahead []byte // read, and not looked at yet
}

// ask returns where the client wants to go. What is wrong with that, it has been told.
func (f *front) ask() (to wire.Address, err error) {
	_ = f.app.SetDeadline(time.Now().Add(askTimeout))
	defer func() { _ = f.app.SetDeadline(time.Time{}) }()
	if err := f.more(); err != nil {
		return to, err
	}
	switch f.speak = ask.Recognize(f.ahead[0]); f.speak {
	case ask.SOCKS5:
		to, err = f.socks()
	case ask.HTTP:
		to, err = f.read(ask.MaxHead, ask.ParseConnect)
	case ask.SOCKS4:
		_, _ = f.app.Write(ask.AppendRefusal4(nil))
		err = errors.New("the client speaks SOCKS 4: set it to SOCKS 5")
	default:
		err = errors.New("the client speaks neither SOCKS 5 nor HTTP")
	}
	if err != nil {
		f.refuse(err)
	}
	return to, err
}

// socks reads a greeting, answers it, and reads the request.
func (f *front) socks() (to wire.Address, err error) {
	open := false
	_, err = f.read(ask.MaxSOCKS, func(b []byte) (_ wire.Address, size int, err error) {
		open, size, err = ask.ParseGreeting(b)
		return wire.Address{}, size, err
	})
	if err != nil {
		return to, err
	}
	if _, err := f.app.Write(ask.AppendChoice(nil, open)); err != nil {
		return to, err
	}
	if !open {
		f.speak = ask.Unknown // it has been told
		return to, errors.New("the client does not do without authentication")
	}
	return f.read(ask.MaxSOCKS, ask.ParseRequest)
}

// read reads until parse has found what it looks for, no more than most bytes of it.
func (f *front) read(
	most int, parse func([]byte) (wire.Address, int, error),
) (to wire.Address, err error) {
	for {
		to, size, err := parse(f.ahead)
		if err != nil {
			return to, err
		}
		if size > 0 {
			f.ahead = f.ahead[size:]
			return to, nil
		}
		if len(f.ahead) >= most {
			return to, fmt.Errorf("%w: it is too long", ask.ErrMalformed)
		}
		if err := f.more(); err != nil {
			return to, err
		}
	}
}

// more reads what comes next.
func (f *front) more() error {
	b := make([]byte, askRead)
	n, err := f.app.Read(b)
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	switch {
	case n > 0:
		f.ahead = append(f.ahead, b[:n]...)
		return nil
	case f.speak == ask.Unknown: // and nothing has come
		return errAsksNothing
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	case errors.Is(err, io.EOF):
		return errLeft
	}
	return err
}

// accept tells the client that the far end is there.
func (f *front) accept() error {
	_ = f.app.SetWriteDeadline(time.Now().Add(replyTimeout))
	answer := ask.AppendEstablished(nil)
	if f.speak == ask.SOCKS5 {
		answer = ask.AppendReply(nil, ask.Succeeded)
	}
	_, err := f.app.Write(answer)
	_ = f.app.SetWriteDeadline(time.Time{})
	return err
}

// refuse tells the client why there is nothing to be had, and ends its connection once it has taken
// that.
func (f *front) refuse(why error) {
	_ = f.app.SetDeadline(time.Now().Add(replyTimeout))
	switch f.speak {
	case ask.SOCKS5:
		_, _ = f.app.Write(ask.AppendReply(nil, replyFor(why)))
	case ask.HTTP:
		status := statusFor(why)
		_, _ = f.app.Write(ask.AppendStatus(nil, status, reasonFor(why)))
	}
	_ = f.app.SetDeadline(time.Now().Add(lastTime))
	if f.app.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, f.app, lastBytes)
	}
	_ = f.app.Close()
}

// answers are what the ends of a connection that was not opened are told, by what the outlet has
// said of it. All else is that the outlet cannot be reached.
var answers = map[wire.Code]struct {
	reply  ask.Reply
	status int
}{
	wire.NotAllowed:  {ask.NotAllowed, http.StatusForbidden},
	wire.NotTrusted:  {ask.NotAllowed, http.StatusForbidden},
	wire.Refused:     {ask.ConnectionRefused, http.StatusBadGateway},
	wire.Unreachable: {ask.HostUnreachable, http.StatusGatewayTimeout},
}

func replyFor(why error) ask.Reply {
	var request *ask.RequestError
	if errors.As(why, &request) {
		return request.Reply
	}
	if said := outletSays(why); said != nil {
		if a, ok := answers[said.Code]; ok {
			return a.reply
		}
		return ask.Failed
	}
	return ask.NetworkUnreachable
}

func statusFor(why error) int {
	var request *ask.StatusError
	if errors.As(why, &request) {
		return request.Status
	}
	if said := outletSays(why); said != nil {
		if a, ok := answers[said.Code]; ok {
			return a.status
		}
		return http.StatusBadGateway
	}
	return http.StatusServiceUnavailable
}

// outletSays returns what the outlet has said inside the channel, or nil: what others say is no
// reason for anything but that there is no way.
func outletSays(why error) *route.StatusError {
	var said *route.StatusError
	if errors.As(why, &said) && !said.Hearsay {
		return said
	}
	return nil
}

// maxReason is how long a reason is that a client of HTTP is told.
const maxReason = 300

func reasonFor(why error) string {
	text := why.Error()
	if !printable.Is(text) {
		text = fmt.Sprintf("%+q", text)
	}
	return text[:min(len(text), maxReason)]
}

// asked is a client's wish, as logs and reports call it.
func asked(to wire.Address) string { return transport.Format(to) }
