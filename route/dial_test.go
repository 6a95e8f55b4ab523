package route

import (
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// A node that dials many that are not there keeps nothing of them; what it has a session with
// stays.
func TestPeeringsAreForgotten(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	near := w.node(t)
	to := Route{at, secure(), svc(EchoName)}
	expectEcho(t, near, to)
	session, err := near.Session(testkit.Context(t), to)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		nobody := Route{nowhere(t), secure(), svc(EchoName)}
		if _, err := near.Session(testkit.Context(t), nobody); err == nil {
			t.Fatal("nobody answers")
		}
	}
	near.sessions.mu.Lock()
	n := len(near.sessions.by)
	near.sessions.mu.Unlock()
	if n > 2 { // the last one that failed goes with the next
		t.Errorf("%d peerings are kept", n)
	}
	if again, err := near.Session(testkit.Context(t), to); err != nil || again != session {
		t.Errorf("the session that lives is not used again: %v", err)
	}
}
