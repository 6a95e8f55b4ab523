//go:build linux

package topology

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/secureportal/sp/bench/internal/proc"
)

// A site is where one topology is being started.
type site struct {
	ctx context.Context
	kit *Kit
	set *proc.Set
	dir string
	sp  string // which build of sp: spAfter or spBefore

	// line starts what stands in the middle of the way between the two ends, in
	// front of addr, and returns where it listens. nil: nothing stands there.
	line func(s *site, addr string) (string, error)
}

// link is the way to addr, which leads over the line if there is one.
func (s *site) link(addr string) (string, error) {
	if s.line == nil {
		return addr, nil
	}
	return s.line(s, addr)
}

// run starts a program of the kit.
func (s *site) run(program string, args ...string) (*proc.Process, error) {
	return s.set.Start(s.kit.env[program], s.kit.programs[program], args...)
}

// write makes a file of the site and returns its path.
func (s *site) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// listening waits until something accepts at addr.
func (s *site) listening(addr string) error {
	for {
		conn, err := net.DialTimeout("tcp", addr, probeTimeout)
		if err == nil {
			return conn.Close()
		}
		if name, ended := s.set.Ended(); ended {
			return fmt.Errorf("%s ended early", name)
		}
		select {
		case <-s.ctx.Done():
			return fmt.Errorf("nothing listens: %w", err)
		case <-time.After(probePause):
		}
	}
}

// runAt starts a program that is to listen at addr and waits until it does.
func (s *site) runAt(addr, program string, args ...string) error {
	if _, err := s.run(program, args...); err != nil {
		return err
	}
	return s.listening(addr)
}
