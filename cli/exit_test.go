package cli

import (
	"fmt"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
)

// TestExitCodes has "not trusted" come from this side or from inside a channel only.
func TestExitCodes(t *testing.T) {
	status := func(code route.Code, hearsay bool) error {
		return fmt.Errorf("first: %w", &route.StatusError{Code: code, Hearsay: hearsay, Hop: 1})
	}
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"not trusted by this side":   {fmt.Errorf("far end: %w", trust.ErrNotTrusted), exitNotTrusted},
		"not trusted by the far end": {channel.ErrRefusedByPeer, exitNotTrusted},
		"the wrong name":             {channel.ErrWrongName, exitNotTrusted},
		"a credential of another":    {&daemon.Error{Problem: daemon.NotBelieved}, exitNotTrusted},
		"not trusted, inside":        {status(route.CodeNotTrusted, false), exitNotTrusted},
		"name taken, inside":         {status(route.CodeNameTaken, false), exitNotTrusted},
		"not allowed, inside":        {status(route.CodeNotAllowed, false), exitNotTrusted},
		"refused, inside":            {status(route.CodeRefused, false), exitRefused},
		"not trusted, outside":       {status(route.CodeNotTrusted, true), exitUnreachable},
		"name taken, outside":        {status(route.CodeNameTaken, true), exitUnreachable},
		"not allowed, outside":       {status(route.CodeNotAllowed, true), exitUnreachable},
		"refused, outside":           {status(route.CodeRefused, true), exitUnreachable},
	} {
		if d, ok := test.err.(*daemon.Error); ok {
			d.Err = channel.ErrClosed
		}
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
}
