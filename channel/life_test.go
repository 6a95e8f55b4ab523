package channel

import (
	"errors"
	"testing"
)

// Each arrow of the drawing, and none that is not in it.
func TestLife(t *testing.T) {
	errEnd := errors.New("any reason")
	busy := func() (busy, ok bool) { return true, true }
	unused := func() (busy, ok bool) { return false, true }
	objects := func() (busy, ok bool) { return false, false }
	for name, test := range map[string]struct {
		do     func(l *life)
		want   sessionState
		reason error
	}{
		"open":        {func(*life) {}, sessionOpen, nil},
		"going away":  {func(l *life) { l.goAway(); l.goAway() }, sessionGoingAway, nil},
		"end":         {func(l *life) { l.end(errEnd, busy) }, sessionClosing, errEnd},
		"objected to": {func(l *life) { l.end(errEnd, objects) }, sessionOpen, nil},
		"in good order": {
			func(l *life) { l.end(ErrGoingAway, busy) }, sessionDraining, ErrGoingAway,
		},
		"unused": {
			func(l *life) { l.end(ErrGoingAway, unused) }, sessionClosing, ErrGoingAway,
		},
		"drained": {
			func(l *life) { l.end(ErrGoingAway, busy); l.drained() }, sessionClosing, ErrGoingAway,
		},
		"from going away": {
			func(l *life) { l.goAway(); l.end(errEnd, busy) }, sessionClosing, errEnd,
		},
		"once": {
			func(l *life) { l.end(ErrGoingAway, busy); l.end(errEnd, busy) },
			sessionDraining, ErrGoingAway,
		},
		"no way back": {func(l *life) { l.end(errEnd, busy); l.goAway() }, sessionClosing, errEnd},
		"over":        {func(l *life) { l.end(errEnd, busy); l.finish() }, sessionOver, errEnd},
	} {
		l := newLife()
		test.do(&l)
		if l.state != test.want || l.reason() != test.reason {
			t.Errorf("%s: state %d because of %v, want %d because of %v",
				name, l.state, l.reason(), test.want, test.reason)
		}
		if ended := l.ctx.Err() != nil; ended != (test.want >= sessionDraining) {
			t.Errorf("%s: ended %v in state %d", name, ended, l.state)
		}
	}
}
