package route

import (
	"encoding/hex"
	"errors"
	"net"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
)

// sessionBegan counts that a session has begun, and returns what counts its end: the handshake has
// taken more memory than the session does. It also logs both, if the node is to.
func (n *Node) sessionBegan(s *channel.Session) (ended func()) {
	n.turn()
	if n.config.Audit {
		log := n.auditSession(s)
		return func() {
			log()
			n.turn()
		}
	}
	return n.turn
}

// auditSession logs that a session has begun, and returns what logs how it has ended. The fields
// are described in docs/trust.md: programs read them.
func (n *Node) auditSession(s *channel.Session) (ended func()) {
	by := s.Decision()
	n.logger.Info("session began", sessionFields(s, &by)...)
	return func() {
		lasted := time.Since(s.Began()).Round(time.Millisecond).Seconds()
		n.logger.Info("session ended",
			append(sessionFields(s, &by), "lasted", lasted, "reason", endText(s.Err()))...)
	}
}

// sessionFields are whose a session is, and by what that is trusted. They are made when they are
// needed: a relay has a session for each name.
func sessionFields(s *channel.Session, by *trust.Decision) []any {
	return append([]any{
		"role", s.Role().String(), "identifier", s.Peer().Identifier(),
		"source", addressText(s.Link().RemoteAddr()), "name", s.Name(),
	}, anchorFields(*by)...)
}

// anchorFields are by what a peer is trusted.
func anchorFields(d trust.Decision) []any {
	all := []any{"anchor", d.Anchor.String()}
	if d.Where != "" {
		all = append(all, "at", d.Where)
	}
	if c := d.Credential; c != nil {
		serial := c.Serial()
		all = append(all, "authority", c.Authority(), "serial", hex.EncodeToString(serial[:]))
	}
	return all
}

func addressText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// endText says how a session has ended.
func endText(err error) string {
	switch {
	case err == nil, errors.Is(err, channel.ErrClosed):
		return "closed"
	case errors.Is(err, channel.ErrGoingAway):
		return "going away"
	}
	return err.Error()
}
