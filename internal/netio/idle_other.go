//go:build !linux

package netio

import "time"

// Idle implements Idler: this system is not asked.
func (s *Socket) Idle() (time.Duration, bool) { return 0, false }
