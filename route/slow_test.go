package route

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/wire"
)

// Who is slow with an opening message, or says nothing at all, does not hold on to the node
// for ever.
func TestSlowOpeningMessage(t *testing.T) {
	for name, send := range map[string]func(near *faultnet.Conn, b []byte){
		"nothing": func(*faultnet.Conn, []byte) {},
		"a part":  func(near *faultnet.Conn, b []byte) { _, _ = near.Write(b[:5]) },
		"drip by drip": func(near *faultnet.Conn, b []byte) {
			for i := range b {
				if _, err := near.Write(b[i : i+1]); err != nil {
					return
				}
				time.Sleep(time.Second) // of the bubble
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newWorld(t).node(t)
				n.HandleBasics()
				message := opening(t, wire.Message{Onward: Route{svc(EchoName)}})
				near, far := faultnet.Pipe()
				served := make(chan struct{})
				begin := time.Now()
				go func() {
					defer close(served)
					n.serveLink(far, nil, nil, nil)
				}()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					send(near, message)
				}()
				got, err := io.ReadAll(near)
				if s := statusIn(t, string(got)); s.Code != wire.Timeout || err != nil {
					t.Errorf("got %v, %v", s, err)
				}
				if d := time.Since(begin); d != openingTimeout {
					t.Errorf("answered after %v, want %v", d, openingTimeout)
				}
				<-served
				if d := time.Since(begin); d > openingTimeout+refuseTimeout {
					t.Errorf("the link is served for %v", d)
				}
				_ = near.Close()
				<-sent
			})
		})
	}
}

// A probe's flow ends on a slow line later than the asker sends the next one on the same link: that
// must not end the link.
func TestNextFlowOnSlowLine(t *testing.T) {
	t.Run("socket", func(t *testing.T) {
		nextFlowOnSlowLine(t,
			func(here, there netio.Conn) (near, far netio.Conn) { return here, there })
	})
	t.Run("mux", func(t *testing.T) {
		nextFlowOnSlowLine(t,
			func(here, there netio.Conn) (near, far netio.Conn) { return muxed(t, here, there) })
	})
}

// muxed returns the ends of a link in a mux over a link.
func muxed(t *testing.T, here, there netio.Conn) (near, far netio.Conn) {
	t.Helper()
	run := func(f func()) bool { go f(); return true }
	client, err := mux.NewOpener(here, mux.Config{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	server, err := mux.NewAcceptor(there, mux.Config{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func nextFlowOnSlowLine(t *testing.T, over func(here, there netio.Conn) (near, far netio.Conn)) {
	t.Helper()
	const oneWay = 600 * time.Millisecond // there and back it is longer than refuseTimeout
	testkit.Bubble(t, func(t *testing.T) {
		w := newWorld(t)
		far, near := w.node(t), w.node(t)
		far.HandleBasics()
		var links sync.WaitGroup
		defer links.Wait()
		dialed := 0
		to, line := Route{secure()}, faultnet.Config{Plan: faultnet.Line(oneWay, 0)}
		dial := func(context.Context) (channel.Conn, error) {
			dialed++
			client, server, link := faultnet.FaultyPipe(line)
			t.Cleanup(func() { _ = link.Close() })
			here, there := over(client, server)
			links.Go(func() { far.serveLink(there, nil, nil, nil) })
			return opened(here, &answerer{route: to}, opening(t, wire.Message{Onward: to})), nil
		}
		session, err := near.endpoint.Initiate(t.Context(), "", trust.As{}, dial)
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		ask := func(m wire.Message, text string) string {
			t.Helper()
			flow, err := session.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s := opened(flow, &answerer{route: m.Onward}, opening(t, m))
			defer s.Close()
			if _, err := io.WriteString(s, text); err != nil {
				t.Fatal(err)
			}
			if err := s.Await(t.Context()); err != nil {
				t.Error(err)
			}
			_ = s.CloseWrite()
			got, err := io.ReadAll(s)
			if err != nil {
				t.Error(err)
			}
			return string(got)
		}
		probe := wire.Message{Onward: Route{svc(EchoName)}, Flags: wire.Probe}
		if got := ask(probe, ""); got != "" {
			t.Errorf("the probe got %q", got)
		}
		if got := ask(wire.Message{Onward: Route{svc(EchoName)}}, "hello"); got != "hello" {
			t.Errorf("the next flow got %q", got)
		}
		if dialed != 2 {
			t.Errorf("%d links, want the session's and one for both flows", dialed)
		}
	})
}
