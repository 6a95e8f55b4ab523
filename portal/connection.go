package portal

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
)

// Follower is told what becomes of one connection, by one goroutine after another.
type Follower interface {
	// Opened is called when there is a stream, which may fail yet, before anything is copied. copy
	// is what does that, and lives as long as the connection.
	Opened(stream *route.Stream, copy *netio.Proxy)
	// Ended is the last call.
	Ended()
}

// Leader is a Follower that is told where a connection leads whose client has said so.
type Leader interface {
	Leads(to string) // before there is a stream
}

// LogPolicy says which connections have a line in the log when they end.
type LogPolicy uint8

// The policies. Whatever they say, all connections have one for debugging.
const (
	LogFailed LogPolicy = iota // those that have not ended as their applications wanted
	LogAll                     // each
	LogNone
)

// ParseLogPolicy reads all, failed or none.
func ParseLogPolicy(text string) (p LogPolicy, ok bool) {
	switch text {
	case "all":
		return LogAll, true
	case "failed":
		return LogFailed, true
	case "none":
		return LogNone, true
	}
	return 0, false
}

// connectionLog writes a line for each connection of a portal that has ended. The zero value is
// ready.
type connectionLog struct {
	throttle logthrottle.Throttle
	repeats  logthrottle.Repeats[string]
}

// ended is what is said of a connection, beside what its conns know.
type ended struct {
	app    route.Conn
	stream *route.Stream // nil if there was none
	began  time.Time
	err    error
	about  []any // of the portal
}

// log says how a connection ended. That an application reset its own connection is its own affair,
// on either side. What keeps happening is told at once, and then rarely, unless all are to be told:
// all who connect while the outlet is down meet the same.
func (l *connectionLog) log(to *slog.Logger, policy LogPolicy, e ended) {
	now := time.Now()
	level, text := slog.LevelDebug, "connection ended"
	var more []any
	if e.err != nil && !isOrderly(e.err) {
		level, text = l.throttle.Level(e.err, now), "connection failed"
		if isCut(e.err) {
			level = min(level, slog.LevelInfo)
		}
		due, since, omitted := l.repeats.Due(e.err.Error(), now)
		if !due && policy != LogAll {
			level = slog.LevelDebug
		}
		if omitted > 0 {
			more = append(more, "since", since.Format(time.RFC3339), "left out", omitted)
		}
	}
	switch {
	case policy == LogNone:
		level = slog.LevelDebug
	case policy == LogAll:
		level = max(level, slog.LevelInfo)
	}
	if !loggerOr(to).Enabled(context.Background(), level) {
		return
	}
	loggerOr(to).Log(context.Background(), level, text, append(e.fields(now), more...)...)
}

// isOrderly tells whether err is how applications, or who looks after this process, end what they
// have had enough of.
func isOrderly(err error) bool {
	return netio.IsReset(err) || errors.Is(err, channel.ErrReset) ||
		errors.Is(err, route.ErrCutHere) || errors.Is(err, errAsksNothing)
}

// isCut tells whether err says that what carried a connection has gone, in whichever way that is
// met first. Whoever had it open may have been killed, which is ordinary; of a way that has failed
// its session tells.
func isCut(err error) bool {
	return errors.Is(err, channel.ErrCut) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE)
}

// fields are described in docs/metrics.md: programs read them.
func (e ended) fields(now time.Time) []any {
	all := e.about
	if e.stream != nil {
		all = append(all, streamFields(e.stream)...)
	}
	if received, sent, known := netio.Moved(e.app); known {
		all = append(all, "received", received, "sent", sent)
	}
	all = append(all, "lasted", now.Sub(e.began).Round(time.Millisecond).Seconds())
	if e.err != nil && !isOrderly(e.err) {
		return append(all, "error", e.err)
	}
	return append(all, "ended", route.HowEnded(e.err))
}

// streamFields say with whom, and by which way.
func streamFields(s *route.Stream) (all []any) {
	session := s.Session()
	if session == nil {
		return nil
	}
	all = append(all, "identifier", session.Peer().Identifier())
	if name := strings.TrimPrefix(session.Name(), route.ForwardPrefix); name != "" {
		all = append(all, "name", name)
	}
	if path := session.Route(); path != "" {
		all = append(all, "path", path)
	} else if from := s.RemoteAddr(); from != nil {
		all = append(all, "source", from.String())
	}
	if s.GoesDirectly() {
		all = append(all, "direct", true)
	}
	return all
}
