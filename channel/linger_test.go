package channel

import (
	"context"
	"testing"
	"testing/synctest"
)

// What a flow that has ended well still has on the way arrives when its session ends, whatever else there is in it.
func TestLastBytes(t *testing.T) {
	for name, disturb := range map[string]func(l *lab, s *Session){
		"alone": func(*lab, *Session) {},
		"beside a flow that is cut": func(l *lab, s *Session) {
			_, _ = l.open(s).Write(nil)
		},
		"beside a link of somebody who has seen the session's number": func(l *lab, s *Session) {
			c, err := l.dial(context.Background())
			if err != nil {
				l.t.Fatal(err)
			}
			_, _ = c.Write(appendFlowHello(nil, s.epoch.id, 77))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				handle, flows := accepted()
				l.handle = handle
				s := l.session()
				near, far := l.both(s, flows)
				_ = near.CloseWrite()
				expectEnd(t, far)
				write(t, far, "the last bytes")
				_ = far.CloseWrite()
				far.release()
				synctest.Wait()
				disturb(l, s)
				synctest.Wait()
				_ = l.responder.Close()
				synctest.Wait()
				expect(t, near, "the last bytes")
				expectEnd(t, near)
				close(flows)
				for a := range flows {
					a.release()
				}
			})
		})
	}
}
