package channel

import "testing"

// TestArrivedAfterTheEnd has somebody else read the end of a flow that was parked: who has it
// reset, or waits for that. What was to be called is called all the same.
func TestArrivedAfterTheEnd(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		f := l.open(l.session())
		write(t, f, "all")
		_ = f.CloseWrite()
		expect(t, f, "all")
		expectEnd(t, f)
		called := false
		(&parkedFlow{flow: f, ready: func() { called = true }}).arrived()
		if !called {
			t.Error("nobody is told that there is an end")
		}
	})
}
