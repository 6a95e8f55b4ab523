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
	fails := func() {
		nobody := Route{nowhere(t), secure(), svc(EchoName)}
		if _, err := near.Session(testkit.Context(t), nobody); err == nil {
			t.Fatal("nobody answers")
		}
	}
	for range 5 {
		fails()
	}
	testkit.Eventually(t, "what has failed is forgotten", func() bool {
		fails() // one that failed goes with the next
		near.sessions.mu.Lock()
		defer near.sessions.mu.Unlock()
		return len(near.sessions.by) <= 2
	})
	if again, err := near.Session(testkit.Context(t), to); err != nil || again != session {
		t.Errorf("the session that lives is not used again: %v", err)
	}
}
