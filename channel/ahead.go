package channel

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// A flow on a new link waits for the round trips that making a link takes; on one that is there it waits for nothing.
// So links are made ahead: each with a flow of nothing, which proves to the far end whose link it is. How many follows
// the demand.
const (
	aheadPause  = 200 * time.Millisecond // after a shortage: flows come first, where there is a limit, and short ones leave links
	aheadShrink = time.Minute            // without a shortage, before a quarter less is made ahead, or without a flow, none
	aheadRetry  = time.Minute            // after a link could not be made
	aheadWait   = 5 * time.Second        // for the far end to take a flow of nothing
)

// ahead says how many links to make ahead. It is guarded by the session.
type ahead struct {
	want     int
	making   int
	used     time.Time     // when there was last a flow
	shortage time.Time     // when there was none for it, or when want became less
	failed   time.Time     // when a link could last not be made
	changed  chan struct{} // tells makeAhead that links may be missing
}

// short takes note that a flow found no idle link, as the first one must. It is called with mu locked.
func (s *Session) short() {
	if len(s.chains) > 0 {
		s.ahead.want = min(s.ahead.want+1, s.config.Ahead)
		s.ahead.shortage = time.Now()
	}
}

// shrinkAhead has fewer links made ahead if none was short for a while. It is called with mu locked.
func (s *Session) shrinkAhead(now time.Time) {
	a := &s.ahead
	if len(s.chains) > len(s.idle) {
		a.used = now
	}
	switch {
	case now.Sub(a.used) > aheadShrink:
		a.want = 0
	case now.Sub(a.shortage) > aheadShrink:
		a.want -= (a.want + 3) / 4
		a.shortage = now
	}
}

// fail has no links made ahead for a while: one could not be made, or has ended while it was idle. It is called with mu
// locked.
func (a *ahead) fail() {
	a.want, a.failed = 0, time.Now()
}

// kept returns how many idle links stay for good. It is called with mu locked.
func (s *Session) kept() int {
	if s.Leaving() {
		return 0
	}
	return max(chainIdleKept, s.ahead.want)
}

// missing returns how many links to make now. It is called with mu locked.
func (s *Session) missing() int {
	a := &s.ahead
	if s.err != nil || s.Leaving() || time.Since(a.failed) < aheadRetry {
		return 0
	}
	return max(a.want-len(s.idle)-a.making, 0)
}

// lookAhead has links made if some are missing. It is called with mu locked.
func (s *Session) lookAhead() {
	if s.missing() > 0 {
		select {
		case s.ahead.changed <- struct{}{}:
		default:
		}
	}
}

// makeAhead makes links ahead until the session ends.
func (s *Session) makeAhead() {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		select {
		case <-s.Done():
			return
		case <-s.ahead.changed:
		}
		select {
		case <-s.Done():
			return
		case <-time.After(aheadPause):
		}
		s.mu.Lock()
		missing := s.missing()
		s.ahead.making += missing
		s.mu.Unlock()
		for range missing {
			tasks.Go(s.makeOne)
		}
	}
}

// makeOne makes a link and leaves it idle.
func (s *Session) makeOne() {
	err := s.openNothing()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.making--
	if err != nil {
		s.ahead.fail()
	}
	s.lookAhead() // a flow may have taken the link while it still counted as being made
}

// openNothing has a flow of nothing on a new link.
func (s *Session) openNothing() error {
	ctx, cancel := context.WithTimeout(s.life, aheadWait)
	defer cancel()
	c, err := s.dialChain(ctx)
	if err != nil {
		return err
	}
	f, err := s.openOn(c, true)
	if err != nil {
		_ = c.conn.Close()
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
		return fmt.Errorf("%w: data in answer to a flow of nothing", ErrProtocol)
	}
	return err
}
