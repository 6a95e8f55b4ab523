package route

import (
	"testing"

	"github.com/secureportal/sp/wire"
)

func TestMissing(t *testing.T) {
	for _, service := range []string{OutletName, "register", ForwardPrefix + "db"} {
		e := &StatusError{Code: wire.NoService, Reason: missing(service), Hop: 1, Where: "there"}
		if got := e.Missing(); got != service {
			t.Errorf("%q: %q, want %q", e.Reason, got, service)
		}
	}
	for _, e := range []*StatusError{
		{Code: wire.Busy, Reason: missing(OutletName)},
		{Code: wire.NoService, Reason: "outlet"},
	} {
		if got := e.Missing(); got != "" {
			t.Errorf("%v: %q is missing", e, got)
		}
	}
}
