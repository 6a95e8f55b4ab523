package route

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// A resolver finds what a node has not offered, and no more than its prefix is for.
func TestResolver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, at := w.listening(t)
	say := func(text string) Handler {
		return func(_ context.Context, q *Request) error {
			s := q.Accept()
			if _, err := s.Write([]byte(text)); err != nil {
				return err
			}
			return s.CloseWrite()
		}
	}
	n.HandleOpen("to_offered", say("offered"))
	n.Resolve("to_", true, func(_ context.Context, name string) (none Service, err error) {
		switch name {
		case "broken":
			return none, errors.New("nobody's affair")
		case "full":
			return none, Refuse(wire.Busy, "full")
		case "nobody":
			return none, nil
		case "asked":
			return Service{Asks: true, Handler: func(context.Context, *Request) error {
				return Refuse(wire.Busy, "others are asked")
			}}, nil
		}
		return Service{Handler: say(name)}, nil
	})
	asker := w.node(t)
	for name, want := range map[string]string{"to_offered": "offered", "to_found": "found"} {
		if got, err := ask(t, asker, Route{at, svc(name)}, ""); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		probe := func() error { return asker.Probe(testkit.Context(t), Route{at, svc(name)}) }
		if err := testkit.Patiently(t, probe); err != nil {
			t.Errorf("%s: asked whether it is there: %v", name, err)
		}
	}
	for name, want := range map[string]wire.Code{
		"to_broken": wire.Unreachable, "to_full": wire.Busy, "to_nobody": wire.NoService,
		"other": wire.NoService,
	} {
		_, err := ask(t, asker, Route{at, svc(name)}, "")
		expectStatus(t, err, want, 1, transport.Format(at))
		if strings.Contains(err.Error(), "affair") {
			t.Errorf("%s: the asker is told %v", name, err)
		}
	}
	err := asker.Probe(testkit.Context(t), Route{at, svc("to_asked")})
	expectStatus(t, err, wire.Busy, 1, transport.Format(at))
}
