//go:build unix

package test

import (
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// TestLinkSwallowed has somebody on the way take new links and say nothing, while the session's own
// goes on: the client that wants such a link is refused in time, and those who have one notice
// nothing.
func TestLinkSwallowed(t *testing.T) {
	t.Parallel()
	const (
		firstSwallowed = 2 // 0 is the session's, 1 the first client's
		connectTimeout = time.Second
	)
	s := newOutlet(t)
	route := s.route()
	outlet := hostPortOf(route)
	swallower := proxy(t, outlet, faultnet.ProxyConfig{
		Plan: func(conn int) faultnet.Plan {
			if conn < firstSwallowed {
				return nil
			}
			return faultnet.Plan{
				{Kind: faultnet.BlackHole},
				{Kind: faultnet.BlackHole, Dir: faultnet.ServerToClient},
			}
		},
	})
	s.connect(strings.Replace(route, step(outlet), step(swallower.Addr()), 1),
		"--connect-timeout", unhurried(connectTimeout).String())

	client, target := s.open()
	late := s.dial()
	receivesReset(t, late)
	s.inlet.says("no answer in time")
	send(t, client, "nothing noticed")
	receives(t, target, "nothing noticed")
}
