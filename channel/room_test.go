package channel

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/faultnet"
)

// keptByOthers leaves so many bytes to keep, of very many that are kept for others.
func keptByOthers(t *testing.T, left int64) {
	const most = 64 << 20
	budget.SetKept(most, 0)
	budget.Kept.Take(most - left)
	t.Cleanup(func() {
		budget.Kept.Give(most - left)
		budget.SetKept(0, 0)
	})
}

// writing has data written to f, and its direction ended. It returns a channel that brings the
// error.
func writing(f *Flow, data []byte) chan error {
	wrote := make(chan error, 1)
	go func() {
		_, err := f.Write(data)
		if err == nil {
			err = f.CloseWrite()
		}
		wrote <- err
	}()
	return wrote
}

// resetFlows resets all links but the session's own.
func (p *peer) resetFlows() {
	for _, k := range p.liveLinks()[1:] {
		k.Reset()
	}
}

// waits fails unless whoever writes waits.
func waits(t *testing.T, wrote chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-wrote:
		t.Fatalf("it has not waited: %v", err)
	default:
	}
}

// arrives reads all that a flow says to its other end, which is data, has both ended in order, and
// returns how long it has read.
func arrives(
	t *testing.T, f *Flow, far *acceptedFlow, data []byte, wrote <-chan error,
) (took time.Duration) {
	t.Helper()
	began := time.Now()
	got, err := io.ReadAll(far)
	took = time.Since(began)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, or others, after %v: %v", len(got), took, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	_ = far.CloseWrite()
	expectEnd(t, f)
	far.release()
	return took
}

// Flows that nobody reads keep little, however much they have to say, and none of them is given up
// for that. All of it comes once somebody reads.
func TestRoomOfUnread(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		const flows = 40
		keptByOthers(t, 4<<20)
		before := budget.Kept.Taken()
		accept := p.accepted()
		p.plan = func(int) faultnet.Plan { return faultnet.Line(20*time.Millisecond, 0) }
		s := p.mustSession()
		data := pattern(400_000)
		var near []*Flow
		var far []*acceptedFlow
		var writers sync.WaitGroup
		for range flows {
			f, a := p.both(s, accept)
			writers.Go(func() {
				if err := <-writing(f, data); err != nil {
					t.Error(err)
				}
			})
			near, far = append(near, f), append(far, a)
		}
		time.Sleep(time.Minute)
		if n := budget.Kept.Taken() - before; n > flows*(windowLeast+8<<10) || n < flows<<10 {
			t.Errorf("%d bytes are kept for %d flows", n, flows)
		}
		for i, a := range far {
			if got, err := io.ReadAll(a); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if near[i].lasting.kept.isLost() {
				t.Error("it is given up")
			}
			_ = a.CloseWrite()
			a.release()
		}
		writers.Wait()
	})
}

// Who waits for room waits no longer than for a deadline, the flow's end, or that of its link.
func TestRoomIsNotAwaitedForEver(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(p *peer, f *Flow)
		err  error
		most time.Duration
	}{
		"deadline": {
			func(_ *peer, f *Flow) { _ = f.SetWriteDeadline(time.Now().Add(time.Second)) },
			os.ErrDeadlineExceeded, time.Second,
		},
		"close": {func(_ *peer, f *Flow) { _ = f.Close() }, nil, time.Second},
		"reset": {func(_ *peer, f *Flow) { _ = f.Reset() }, nil, time.Second},
		"no way": {
			func(p *peer, _ *Flow) { p.noWay(); p.cutAll() },
			nil, roomLookMax + 3*testSurvive,
		},
		"no way, and the session lives": { // and nobody reads, at either end, who would notice
			func(p *peer, _ *Flow) { p.noWay(); p.resetFlows() },
			nil, roomLookMax + 3*testSurvive,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				keptByOthers(t, 1<<20)
				accept := p.accepted()
				f, far := p.both(p.mustSession(), accept)
				wrote := writing(f, pattern(1<<20))
				waits(t, wrote)
				began := time.Now()
				test.do(p, f)
				err := <-wrote
				if took := time.Since(began); err == nil || took > test.most {
					t.Errorf("%v after %v", err, took)
				}
				if test.err != nil {
					wantErr(t, err, test.err)
				}
				_ = f.Close()
				if _, err := io.ReadAll(far); err == nil {
					t.Error("the other end has come to a clean end")
				}
				far.release()
			})
		})
	}
}

// A flow that waits for room goes on when its link is lost, also where nobody reads from that: who
// would, waits for somebody as well.
func TestRoomOnAnotherLink(t *testing.T) {
	for name, lose := range map[string]func(p *peer){
		"link":    func(p *peer) { p.resetFlows() },
		"session": func(p *peer) { p.cutAll() },
	} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				keptByOthers(t, 1<<20)
				accept := p.accepted()
				f, far := p.both(p.mustSession(), accept)
				data := pattern(1 << 20)
				wrote := writing(f, data)
				waits(t, wrote)
				lose(p)
				time.Sleep(time.Minute)
				if took := arrives(t, f, far, data, wrote); took > time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// Nobody gets in between while somebody waits for room in the middle of what he says: not another
// one who writes, nor the end.
func TestRoomInTheMiddle(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		keptByOthers(t, 1<<20)
		accept := p.accepted()
		f, far := p.both(p.mustSession(), accept)
		data := pattern(1 << 20)
		wrote := make(chan error, 1)
		go func() {
			_, err := f.Write(data)
			wrote <- err
		}()
		waits(t, wrote)
		const others = 20
		var writers sync.WaitGroup
		for range others {
			writers.Go(func() {
				if _, err := f.Write([]byte("and more")); err != nil {
					t.Error(err)
				}
			})
		}
		go func() {
			writers.Wait()
			_ = f.CloseWrite()
		}()
		arrives(t, f, far, append(data, strings.Repeat("and more", others)...), wrote)
	})
}

// Who is read is not slowed down where much is kept for others, at whatever speed, and not given up
// either while there is room for him. To begin with it takes no longer than TCP needs anyway until
// it sends that fast.
func TestRoomForWhoIsRead(t *testing.T) {
	const size = 32 << 20
	for name, test := range map[string]struct {
		way        time.Duration
		rate, left int64
	}{
		"fast":     {50 * time.Millisecond, 50 << 20, 32 << 20},
		"slow":     {50 * time.Millisecond, 4 << 20, 4 << 20},
		"far away": {400 * time.Millisecond, 4 << 20, 24 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			took := func(left int64) (d time.Duration) {
				inSurvivingBubble(t, func(t *testing.T, p *peer) {
					if left > 0 {
						keptByOthers(t, left)
					}
					accept := p.accepted()
					p.plan = func(int) faultnet.Plan { return faultnet.Line(test.way, test.rate) }
					f, far := p.both(p.mustSession(), accept)
					data := pattern(size)
					d = arrives(t, f, far, data, writing(f, data))
					if f.lasting.kept.isLost() {
						t.Error("it has been given up")
					}
				})
				return d
			}
			plenty, short := took(0), took(test.left)
			if short > plenty+plenty/10+8*2*test.way {
				t.Errorf("%v, and %v where much is kept for others", plenty, short)
			}
		})
	}
}

// Where there is no room at all for who is read, somebody is given up, and nobody is slowed down.
func TestNoRoomForWhoIsRead(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		keptByOthers(t, 0)
		accept := p.accepted()
		f, far := p.both(p.mustSession(), accept)
		data := pattern(8 << 20)
		if took := arrives(t, f, far, data, writing(f, data)); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// What is kept for those who do not read is given back when there is too much of it, the largest
// first, and when it is too much with what is held otherwise. Who is read keeps what is his.
func TestUnreadIsGivenBack(t *testing.T) {
	for name, fill := range map[string]func(n int64) (undo func()){
		"kept": func(n int64) func() {
			budget.Kept.Take(n)
			return func() { budget.Kept.Give(n) }
		},
		"held": func(n int64) func() {
			budget.Process.Take(n)
			return func() { budget.Process.Give(n) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				accept := p.accepted()
				p.plan = func(int) faultnet.Plan { return faultnet.Line(20*time.Millisecond, 0) }
				s := p.mustSession()
				read, readFar := p.both(s, accept)
				var unread []*Flow
				for _, n := range []int{50_000, 800_000, 300_000} {
					f, a := p.both(s, accept)
					write(t, f, string(pattern(n)))
					unread = append(unread, f)
					defer a.release()
				}
				talk := func(times int) {
					for range times {
						write(t, read, string(pattern(50_000)))
						expect(t, readFar, string(pattern(50_000)))
						time.Sleep(paceTime)
					}
				}
				talk(2 * unreadTimes)
				lost := func() (all [3]bool) {
					for i, f := range unread {
						all[i] = f.lasting.kept.isLost()
					}
					return all
				}
				if all := lost(); all != [3]bool{} {
					t.Errorf("%v are given up, and there is room", all)
				}
				// By then the middle one is the only one that has to go.
				undo := fill(budget.DefaultKept/2 - budget.Kept.Taken() + 250_000)
				if name == "held" {
					undo()
					undo = fill(budget.Process.Most() - budget.Kept.Taken() + 250_000)
				}
				defer undo()
				talk(2)
				if all := lost(); all != [3]bool{false, true, false} {
					t.Errorf("%v are given up, want the largest", all)
				}
				if read.lasting.kept.isLost() {
					t.Error("who is read is given up")
				}
				readFar.release()
			})
		})
	}
}

// Who asks with an empty record behind something hears soon how far the other end has come, and one
// that asks about nothing does not make it speak.
func TestAskedForAcknowledgement(t *testing.T) {
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		accept := p.accepted()
		f, far := p.both(p.mustSession(), accept)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		ask := func() {
			f.sending.Lock()
			defer f.sending.Unlock()
			f.askLocked()
		}
		for _, n := range []int{1, 100_000} {
			write(t, f, string(pattern(n)))
			ask()
			time.Sleep(2 * ackAsked)
			synctest.Wait()
			if !f.lasting.kept.isDone() {
				t.Errorf("%d bytes are not acknowledged, and were asked about", n)
			}
		}
		time.Sleep(time.Second)
		ask()
		time.Sleep(2 * ackDelay)
		synctest.Wait()
		if f.lasting.kept.isDone() {
			t.Error("it has spoken of nothing")
		}
		_ = f.Close()
		far.release()
	})
}

// Where memory is short, who writes much to somebody who does not read holds little of it.
func TestWriteWhenMemoryIsShort(t *testing.T) {
	for name, survive := range map[string]func(a, b *Config){"survive": surviving, "survive 0": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, survive, func(t *testing.T, l *lab) {
				accept := l.accepted()
				f, far := l.both(l.session(), accept)
				all := budget.Process.Most()
				budget.Process.Take(all)
				defer budget.Process.Give(all)
				before := budget.Process.Taken() + budget.Kept.Taken()
				data := pattern(4 << 20)
				wrote := writing(f, data)
				waits(t, wrote)
				held := budget.Process.Taken() + budget.Kept.Taken() - before
				if held > 3*windowLeast {
					t.Errorf("%d bytes are held", held)
				}
				if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if err := <-wrote; err != nil {
					t.Error(err)
				}
				_ = far.CloseWrite()
				expectEnd(t, f)
				far.release()
			})
		})
	}
}

// A far end that reads all and acknowledges nothing is one that does not read: it has as much kept
// as one flow may, and no more. Those beside it are neither slowed down nor given up. If they need
// what is kept for it, it is the one that keeps most: it is given up, which is said, and goes on
// with the link that it has.
func TestNeverAcknowledged(t *testing.T) {
	const size, left = 8 << 20, 4 << 20
	inSurvivingBubble(t, func(t *testing.T, p *peer) {
		keptByOthers(t, left)
		before := budget.Kept.Taken()
		accept := p.accepted()
		p.plan = func(int) faultnet.Plan { return faultnet.Line(20*time.Millisecond, 50<<20) }
		var gaveUp atomic.Pointer[Flow]
		p.initiator.config.GaveUp = func(f *Flow) { gaveUp.Store(f) }
		s := p.mustSession()
		silent, silentFar := p.both(s, accept)
		time.Sleep(2 * ackDelay)
		silentFar.lasting.urgency.Store(urgencyAsked + 1) // nothing is more urgent, to be told
		data := pattern(size)
		wrote := writing(silent, data)
		heard := make(chan []byte, 1)
		go func() {
			got, _ := io.ReadAll(silentFar)
			heard <- got
		}()
		time.Sleep(time.Minute)
		waits(t, wrote)
		if n := budget.Kept.Taken() - before; n > left {
			t.Errorf("%d bytes are kept, and %d may be", n, left)
		}
		f, far := p.both(s, accept)
		if took := arrives(t, f, far, data, writing(f, data)); took > 2*time.Second {
			t.Errorf("beside it, %d bytes took %v", size, took)
		}
		if f.lasting.kept.isLost() || silent.lasting.kept.isLost() || gaveUp.Load() != nil {
			t.Error("somebody is given up, and there is room")
		}
		budget.Kept.Take(left) // there is none any more
		defer budget.Kept.Give(left)
		p.initiator.keepWhatFits()
		if gaveUp.Load() != silent {
			t.Error("the one that keeps most is not given up")
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
		if got := <-heard; !bytes.Equal(got, data) {
			t.Errorf("%d bytes, or others", len(got))
		}
		silentFar.release()
	})
}
