package homes

import (
	"testing"
	"time"

	"github.com/secureportal/sp/route"
)

// Where a name is given up is no home of it any more, and why it is not held elsewhere is said.
func TestHomes(t *testing.T) {
	at := func(text string) route.Route { return route.Route{parsed(t, text)} }
	lost := time.Now()
	o := &Outlet{claims: map[*claim]struct{}{
		{to: at("192.0.2.2:4000"), lost: lost, why: route.ErrNoAnswer}: {},
		{to: at("192.0.2.1:4000"), up: true}:                           {},
		{to: at("192.0.2.3:4000"), up: true, leaves: true}:             {},
	}}
	all := o.Homes()
	if len(all) != 2 || !all[0].Held || all[0].Err != nil {
		t.Fatalf("got %+v", all)
	}
	if h := all[1]; h.Held || h.Err != route.ErrNoAnswer || h.Lost != lost ||
		h.Relay[0] != parsed(t, "192.0.2.2:4000") {
		t.Errorf("got %+v", h)
	}
}
