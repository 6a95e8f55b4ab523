package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
)

// Whoever is a member by a credential is none any more when that has expired, or is revoked,
// although everybody may claim names, and his session goes on.
func TestMemberNoLonger(t *testing.T) {
	for name, end := range map[string]struct {
		lives time.Duration
		do    func(file string, c *identity.Credential, p *trust.Policy) error
	}{
		"expired": {lives: 2 * time.Second, do: func(string, *identity.Credential, *trust.Policy) error {
			return nil
		}},
		"revoked": {
			lives: time.Hour,
			do: func(file string, c *identity.Credential, p *trust.Policy) error {
				if err := trust.RevokeCredential(file, c.Serial(), ""); err != nil {
					return err
				}
				return p.Reload()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			authority, me, other := testkit.NewIdentity(t), testkit.NewIdentity(t), testkit.NewIdentity(t)
			file := filepath.Join(t.TempDir(), "deny")
			if err := os.WriteFile(file, []byte("# nobody\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			policy, err := trust.NewPolicy(trust.Config{
				Self: me.Identifier(), AllowAnyone: true, DenyFiles: []string{file},
				Authorities: []identity.Identifier{authority.Identifier()},
			})
			if err != nil {
				t.Fatal(err)
			}
			var credential *identity.Credential
			var session *channel.Session
			var s *route.Stream
			for lives := end.lives; s == nil; lives *= 2 {
				expires := time.Now().Add(lives).Truncate(time.Second)
				credential, err = authority.Issue(rand.Reader, identity.Claims{
					Subject: other.Identifier(), NotBefore: expires.Add(-2 * time.Hour), Expires: expires,
					Attributes: map[string]string{"role": "relay"},
				})
				if err != nil {
					t.Fatal(err)
				}
				session, s, err = joined(t, me, other, policy, credential)
				if err != nil && time.Now().Before(expires) {
					t.Fatalf("he is no member: %v", err)
				}
			}
			if err := end.do(file, credential, policy); err != nil {
				t.Fatal(err)
			}
			_ = s.SetDeadline(time.Now().Add(testkit.Patience))
			if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("he is a member still")
			}
			if session.Err() != nil {
				t.Errorf("his session has ended: %v", session.Err())
			}
		})
	}
}

// joined has other, who presents a credential, be a member of a set that is me. It returns an error
// if he is none.
func joined(
	t *testing.T, me, other *identity.Identity, policy *trust.Policy, credential *identity.Credential,
) (*channel.Session, *route.Stream, error) {
	t.Helper()
	node, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: me, Trust: policy, Initiators: trust.Caller},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l := testkit.Listen(t)
	mesh := New(Config{Node: node, Dial: node, Self: me.Identifier()})
	relay.NewServer(node, relay.ServerConfig{Directory: mesh, List: mesh.List})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { node.Serve(context.Background(), l); done <- struct{}{} }()
	go func() { mesh.Run(ctx); done <- struct{}{} }()
	his, err := route.NewNode(route.Config{
		Channel: channel.Config{
			Identity: other, Trust: testkit.Trusting(t, other, me.Identifier()),
			Credentials: func() [][]byte { return [][]byte{credential.Bytes()} },
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = his.Close()
		_ = node.Close()
		<-done
		<-done
	})
	to := route.Route{addressOf(l), secure(), svc(route.MemberName)}
	s, err := his.OpenAndAwait(testkit.Context(t), to, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	b, err := (&set.List{}).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(appendFrame(nil, kindList, b)); err != nil {
		return nil, nil, err
	}
	session, err := his.Session(testkit.Context(t), to)
	if err != nil {
		return nil, nil, err
	}
	if kind, _, err := readFrame(s); err != nil || kind != kindList {
		return nil, nil, fmt.Errorf("kind %d, %v", kind, err)
	}
	return session, s, nil
}
