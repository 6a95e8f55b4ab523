//go:build !linux

package netio

import "time"

// parking is nothing on this system, where somebody waits for each socket.
type parking struct{}

func (*parking) leave()          {}
func (*parking) limit(time.Time) {}
