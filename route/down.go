package route

import (
	"errors"
	"slices"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// missed is what somebody asks for in vain. Texts are cut: a peer may have made them.
type missed struct {
	peer   identity.Identifier // of who came through a session
	source admission.Source    // of others
	text   string
}

const maxMissedText = 200

// dueAgain reports whether there is to be a line about err, which is how q ended. What is down, and
// asked for again and again, has one line at once, and then ever fewer: since says when the first
// was, and omitted how many have been left out. Everything else is due.
func (n *Node) dueAgain(q *Request, err error) (due bool, since time.Time, omitted int) {
	if !isDown(err) {
		return true, time.Time{}, 0
	}
	what := missed{text: err.Error()}
	what.text = what.text[:min(len(what.text), maxMissedText)]
	if q.Session != nil {
		what.peer = q.Session.Peer().Identifier()
	} else {
		what.source = n.source(q.conn.RemoteAddr())
	}
	return n.missing.Due(what, time.Now())
}

// isDown tells whether err is that something is not there now, and nobody's decision.
func isDown(err error) bool {
	down := []wire.Code{wire.NoService, wire.Unreachable, wire.Refused, wire.GoingAway}
	var status *StatusError
	return errors.As(err, &status) && slices.Contains(down, status.Code)
}

// repeatFields are those of a line about something that is down.
func repeatFields(since time.Time, omitted int) []any {
	all := sinceField(since)
	if omitted > 0 {
		all = append(all, "left out", omitted)
	}
	return all
}

// sinceField says since when something is down; that it is since now goes without saying.
func sinceField(since time.Time) []any {
	if since.IsZero() {
		return nil
	}
	return []any{"since", since.Format(time.RFC3339)}
}

// secondsOf returns how long something was down, as it is logged.
func secondsOf(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
