package route

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/wire"
)

// Who is slow with an opening message, or says nothing at all, does not hold a place on the node for ever.
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
					n.serveLink(far, func() {})
				}()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					send(near, message)
				}()
				got, err := io.ReadAll(near)
				if s := answered(t, string(got)); s.Code != wire.BadMessage || err != nil {
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
