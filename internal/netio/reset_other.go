//go:build !linux

package netio

// wasReset cannot be told here.
func (s *Socket) wasReset() bool { return false }

// AwaitReset implements ResetAwaiter: this system does not tell, and a reset is noticed at the next
// write.
func (s *Socket) AwaitReset() error { return nil }

// unsent cannot be told here.
func (s *Socket) unsent() int { return 0 }
