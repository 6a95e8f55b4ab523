//go:build unix

package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// TestLinkSwallowed has somebody on the way take new links and say nothing, while the session's own goes on: the client
// that wants such a link is refused in time, and those who have one notice nothing.
func TestLinkSwallowed(t *testing.T) {
	t.Parallel()
	const (
		firstSwallowed = 2 // 0 is the session's, 1 the first client's
		connectTimeout = 100 * time.Millisecond
	)
	s := newOutlet(t)
	route := s.route()
	outlet := hostPortOf(route)
	proxy, err := faultnet.Proxy(context.Background(), "127.0.0.1:0", outlet, faultnet.ProxyConfig{
		Plan: func(conn int) faultnet.Plan {
			if conn < firstSwallowed {
				return nil
			}
			return faultnet.Plan{{Kind: faultnet.BlackHole}, {Kind: faultnet.BlackHole, Dir: faultnet.ServerToClient}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	s.connect(strings.Replace(route, step(outlet), step(proxy.Addr()), 1), "--connect-timeout", connectTimeout.String())

	client, target := s.open()
	late := s.dial()
	receivesReset(t, late)
	logs(t, s.inlet, "no answer in time")
	send(t, client, "nothing noticed")
	receives(t, target, "nothing noticed")
}
