package channel

import (
	"testing"
	"testing/synctest"
	"time"
)

// A deadline that is set while somebody waits until records may be opened again, as another link is
// to take the carrier's place, holds for him as it does for who waits on a link.
func TestDeadlineWhileHeld(t *testing.T) {
	const soon, late = time.Millisecond, resumeTimeout / 2
	for name, set := range map[string]func(*Flow, time.Time) error{
		"read": (*Flow).SetReadDeadline, "both": (*Flow).SetDeadline,
	} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				flows := p.accepted()
				f, far := p.both(p.mustSession(), flows)
				defer far.release()
				release, ok := f.lasting.hold()
				if !ok {
					t.Fatal("it is held already")
				}
				read := func(by time.Time) chan error {
					_ = set(f, by)
					ended := make(chan error, 1)
					go func() {
						_, err := f.Read(make([]byte, 5))
						ended <- err
					}()
					synctest.Wait()
					return ended
				}
				ended := read(time.Time{})
				_ = set(f, time.Now().Add(soon))
				time.Sleep(soon)
				synctest.Wait()
				select {
				case err := <-ended:
					if !isTimeout(err) {
						t.Errorf("%v, want a timeout", err)
					}
				default:
					release()
					t.Fatal("who reads waits beyond his deadline")
				}
				ended = read(time.Now().Add(soon))
				_ = set(f, time.Time{})
				time.Sleep(late)
				write(t, far, "hello")
				release()
				if err := <-ended; err != nil {
					t.Errorf("a deadline that has been taken back: %v", err)
				}
			})
		})
	}
}
