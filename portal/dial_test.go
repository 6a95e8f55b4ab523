package portal

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

func TestCheckRoute(t *testing.T) {
	for text, want := range map[string]error{
		"127.0.0.1:7000":                              nil,
		"db@relay.example.com:4000":                   nil,
		"/ip4/127.0.0.1/tcp/1/secure/api/service/web": nil,
		"/ip4/127.0.0.1/tcp/1/secure/api/ip4/127.0.0.1/tcp/2/secure/api/service/outlet": nil,
		"/service/outlet":                                     route.ErrNotDialable,
		"/secure/api/service/outlet":                          route.ErrNotDialable,
		"/ip4/127.0.0.1/tcp/1":                                ErrNoChannel,
		"/ip4/127.0.0.1/tcp/1/secure/api":                     ErrNoChannel,
		"/ip4/127.0.0.1/tcp/1/service/outlet":                 ErrNoChannel,
		"/ip4/127.0.0.1/tcp/1/service/secure/service/x":       ErrNoChannel,
		"/ip4/127.0.0.1/tcp/1/secure/api/service/x/service/y": ErrNoChannel,
		"nonsense": route.ErrSyntax,
		"":         route.ErrSyntax,
	} {
		r, err := parseRoute(text)
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
		if err == nil && len(r) == 0 {
			t.Errorf("%q: no route and no error", text)
		}
	}
	if err := CheckRoute(nil); !errors.Is(err, route.ErrNotDialable) {
		t.Errorf("nothing: %v", err)
	}
}

func TestDialAndListen(t *testing.T) {
	id := testkit.NewIdentity(t)
	o := Options{Identity: id, Logger: quiet()}
	l := listenPortal(t, o)
	if l.Identifier() != id.Identifier() || l.Addr().Network() != "tcp" {
		t.Errorf("it is %s at %s", l.Identifier(), l.Addr())
	}
	for _, to := range []string{l.Route(), l.Addr().String()} {
		got := accepted(l)
		c, err := Dial(testkit.Context(t), to, o)
		if err != nil {
			t.Fatal(err)
		}
		s := testkit.Within(t, got, "Accept")
		for _, c := range []net.Conn{c, s} {
			_ = c.SetDeadline(time.Now().Add(testkit.Patience))
			if _, ok := c.(interface{ CloseWrite() error }); !ok {
				t.Errorf("%T has no CloseWrite", c)
			}
		}
		testkit.Write(t, c, "question")
		closeWrite(t, c.(interface{ CloseWrite() error }))
		if got, err := io.ReadAll(s); string(got) != "question" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		testkit.Write(t, s, "answer")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(c); string(got) != "answer" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		_ = s.Close() // twice does no harm
	}
}

func TestDialErrors(t *testing.T) {
	id, other := testkit.NewIdentity(t), testkit.NewIdentity(t)
	l := listenPortal(t, Options{Identity: id})
	gone := testkit.Address(t)
	o := Options{Identity: id, Logger: quiet()}
	for name, test := range map[string]struct {
		to      string
		options Options
		is      func(error) bool
	}{
		"syntax": {"nonsense", o, func(err error) bool { return errors.Is(err, route.ErrSyntax) }},
		"no channel": {"/ip4/127.0.0.1/tcp/1/service/outlet", o, func(err error) bool {
			return errors.Is(err, ErrNoChannel)
		}},
		"nobody": {gone, o, func(err error) bool {
			return errors.As(err, new(*route.DialError))
		}},
		"not trusted": {l.Route(), Options{Identity: other, Logger: quiet()}, func(err error) bool {
			return errors.Is(err, trust.ErrNotTrusted)
		}},
		"no service": {strings.TrimSuffix(l.Route(), "outlet") + "other", o, func(err error) bool {
			var status *route.StatusError
			return errors.As(err, &status) && status.Code == wire.NoService
		}},
	} {
		c, err := Dial(testkit.Context(t), test.to, test.options)
		if err == nil || !test.is(err) || c != nil {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	silent := testkit.Listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
		_, err := Dial(ctx, silent.Addr().String(), o)
		failed <- err
	}()
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := testkit.Within(t, failed, "Dial"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDialerSharesASession(t *testing.T) {
	o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
	l := listenPortal(t, o)
	d, err := NewDialer(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	sessions := map[any]bool{}
	var last net.Conn
	for range 3 {
		got := accepted(l)
		c, err := d.Dial(testkit.Context(t), l.Route())
		if err != nil {
			t.Fatal(err)
		}
		s := testkit.Within(t, got, "Accept")
		r, err := parseRoute(l.Route())
		if err != nil {
			t.Fatal(err)
		}
		session, err := d.node.Session(testkit.Context(t), r)
		if err != nil {
			t.Fatal(err)
		}
		sessions[session] = true
		_ = s.Close()
		last = c
	}
	if len(sessions) != 1 {
		t.Errorf("%d sessions, want 1", len(sessions))
	}
	_ = d.Close()
	_ = last.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := last.Write([]byte("x")); err == nil {
		t.Error("a connection outlives its dialer")
	}
	if _, err := d.Dial(testkit.Context(t), l.Route()); err == nil {
		t.Error("a closed dialer dials")
	}
}

// Without an identity it is the user's own, which is made the first time.
func TestDefaultIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sp", "identity")
	t.Setenv("SP_IDENTITY", path)
	l := listenPortal(t, Options{})
	got := accepted(l)
	c, err := Dial(testkit.Context(t), l.Route(), Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = testkit.Within(t, got, "Accept").Close()
	id, err := identity.Load(path)
	if err != nil || id.Identifier() != l.Identifier() {
		t.Errorf("it is not the one in the file: %v", err)
	}
}
