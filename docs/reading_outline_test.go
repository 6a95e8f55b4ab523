// What happened in a recording, without what differs from one time to the next.

package docs_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/secureportal/sp/wire"
)

// outline returns what sp has said in a recording that has been read, and what it was asked. It
// leaves out keys, labels, ports, how bytes were cut into records, pings, going away, what is told
// of links, and what is made ready before it is needed.
func (r *reading) outline() []string {
	var lines []string
	for _, l := range r.Links {
		line := r.outlineOf(l)
		again := l.Dialer == bySP && slices.Contains(lines, line)
		if line != "" && !again {
			lines = append(lines, line)
		}
	}
	for _, f := range r.flows {
		if len(f.data[f.initiator]) > 0 {
			lines = append(lines, r.outlineOfFlow(f))
		}
	}
	slices.Sort(lines) // two links may come in any order
	return lines
}

// leftOut are the types of records on a control link that come at any time.
var leftOut = []byte{3, 4, 7, 10, 11, 12}

// outlineOf returns the outline of a link, without flows.
func (r *reading) outlineOf(l *recordedLink) string {
	if l.Plain != "" {
		return ""
	}
	said := []string{"a link by " + l.Dialer}
	for _, p := range l.Pieces {
		switch {
		case p.Kind == isMessage:
			m, _ := r.message(p.Bytes, 0)
			said = append(said, p.By+" asks "+outlineOfMessage(m))
		case p.Kind == isStatus && p.By == bySP:
			s, _ := r.status(p.Bytes, 0)
			said = append(said, outlineOfStatus(s))
		case p.Kind == isHello:
			said = append(said, fmt.Sprintf("hello %q", p.Bytes))
		case p.Kind == isFrame:
			said = append(said, fmt.Sprintf("%d bytes with %d in them", len(p.Bytes), len(p.Said)))
		case p.Kind == isFlow: // and records of it
			return strings.Join(said, ", ")
		case p.Kind == isRecord && p.By == bySP && !slices.Contains(leftOut, p.Said[0]):
			said = append(said, fmt.Sprintf("type %d of %d bytes", p.Said[0], len(p.Said)))
		}
	}
	return strings.Join(said, ", ")
}

// outlineOfFlow returns the outline of a flow in which something was asked.
func (r *reading) outlineOfFlow(f *readFlow) string {
	m, asked := r.message(f.data[f.initiator], 0)
	s, answered := r.status(f.data[other(f.initiator)], 0)
	said := fmt.Sprintf("flow by %s asks %s, %s",
		f.initiator, outlineOfMessage(m), outlineOfStatus(s))
	if m.Onward[0].Name == "register" { // a mux follows
		return said
	}
	return fmt.Sprintf("%s, %d and %d bytes, ended %v, aborted %v",
		said, len(asked), len(answered), f.ended, f.aborted)
}

func outlineOfMessage(m wire.Message) string {
	var route []string
	for _, a := range m.Onward {
		if a.IsTransport() {
			a.Port = 0
		}
		route = append(route, fmt.Sprint(a))
	}
	return fmt.Sprintf("%q with flags %d, %d labels and a payload of %d bytes",
		route, m.Flags, len(m.Return), len(m.Payload))
}

// ports are those of this machine in reasons.
var ports = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

func outlineOfStatus(s wire.Status) string {
	reason := ports.ReplaceAllString(s.Reason, "PORT")
	return fmt.Sprintf("status %d of hop %d: %q", s.Code, s.Hop, reason)
}
