package channel

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// A flow on a new link waits for the round trips that making a link takes; on one that is there it
// waits for nothing. So links are prewarmed: made before anybody needs them, each with an empty
// flow, which proves to the far end whose link it is. How many follows the demand.
const (
	// prewarmPause is waited after a shortage: flows come first, where there is a limit, and short
	// ones leave links behind.
	prewarmPause = 200 * time.Millisecond
	// prewarmShrink is how long there is no shortage before a quarter fewer links are prewarmed, or
	// no flow before none is.
	prewarmShrink = time.Minute
	// prewarmRetry is waited after a link could not be made.
	prewarmRetry = time.Minute
	// prewarmTimeout is how long a link may take, and the far end with its empty flow.
	prewarmTimeout = 5 * time.Second
)

// prewarm is how many links to make before they are needed.
type prewarm struct {
	most    int    // Config.Prewarm
	changed signal // tells run that links may be missing

	mu       sync.Mutex
	want     int
	making   int
	used     time.Time // when there was last a flow
	shortage time.Time // when there was last no link for one, or when want became less
	failed   time.Time // when a link could last not be made
}

func newPrewarm(most int) *prewarm { return &prewarm{most: most, changed: newSignal()} }

// short takes note that a flow found no idle link.
func (w *prewarm) short() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = min(w.want+1, w.most)
	w.shortage = time.Now()
}

// use takes note of a flow.
func (w *prewarm) use() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used = time.Now()
}

// fail has no links made for a while: one could not be made, or has ended while it was idle.
func (w *prewarm) fail() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked()
}

func (w *prewarm) failLocked() { w.want, w.failed = 0, time.Now() }

// shrink has fewer links made if none was short for a while. busy tells that there are flows.
func (w *prewarm) shrink(now time.Time, busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if busy {
		w.used = now
	}
	switch {
	case now.Sub(w.used) > prewarmShrink:
		w.want = 0
	case now.Sub(w.shortage) > prewarmShrink:
		w.want -= (w.want + 3) / 4
		w.shortage = now
	}
}

// wanted returns how many idle links there should be.
func (w *prewarm) wanted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.want
}

// plan returns how many links to make now, beside those that are idle. They count as being made.
func (w *prewarm) plan(idle int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := w.missingLocked(idle)
	w.making += missing
	return missing
}

// look tells run if links are missing beside those that are idle.
func (w *prewarm) look(idle int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.missingLocked(idle) > 0 {
		w.changed.tell()
	}
}

func (w *prewarm) missingLocked(idle int) int {
	if time.Since(w.failed) < prewarmRetry {
		return 0
	}
	return max(w.want-idle-w.making, 0)
}

// made takes note that a link has been made, or could not be.
func (w *prewarm) made(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.making--
	if err != nil {
		w.failLocked()
	}
}

// run has links made until the session ends.
func (w *prewarm) run(ended <-chan struct{}, pool *linkPool, makeOne func() error) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		select {
		case <-ended:
			return
		case <-w.changed:
		}
		select {
		case <-ended:
			return
		case <-time.After(prewarmPause):
		}
		for range pool.missing() {
			tasks.Go(func() {
				w.made(makeOne())
				pool.look() // a flow may have taken the link while it still counted as being made
			})
		}
	}
}

// openEmpty has an empty flow on a new link by the session's own way, which is idle after it. By
// another way links wait for nothing, and none is kept.
func (s *Session) openEmpty() error {
	ctx, cancel := context.WithTimeout(s.life.ctx, prewarmTimeout)
	defer cancel()
	l, err := s.dialOwn(ctx)
	if err != nil {
		return err
	}
	return s.emptyFlow(l)
}

// emptyFlow has an empty flow on a link, which is idle after it.
func (s *Session) emptyFlow(l *link) error {
	ctx, cancel := context.WithTimeout(s.life.ctx, prewarmTimeout)
	defer cancel()
	f, err := s.openOn(l, true)
	if err != nil {
		_ = l.Conn.Close()
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	if err := f.CloseWrite(); err != nil {
		return err
	}
	switch _, err = f.Read(make([]byte, 1)); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: data in answer to an empty flow", ErrProtocol)
	}
	return err
}
