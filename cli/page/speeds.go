package page

import (
	"time"

	"github.com/secureportal/sp/cli/daemon"
)

const (
	speedOver  = 900 * time.Millisecond // at least: how fast something is, is said of so long
	speedsLast = 15 * time.Second       // for the next who looks
)

// speed is how fast a connection is: bytes a second.
type speed struct{ toService, toClient float64 }

// speeds are found out by what connections had carried when somebody looked before.
type speeds struct {
	at      time.Time
	carried map[uint64][directions]uint64
	known   map[uint64]speed
}

// since returns how fast connections are, by their numbers. Of those that are not there it is not
// known.
func (s *speeds) since(all []daemon.ConnectionReport, now time.Time) map[uint64]speed {
	took := now.Sub(s.at)
	if s.carried != nil && took < speedOver {
		return s.known
	}
	known := make(map[uint64]speed, len(all))
	carried := make(map[uint64][directions]uint64, len(all))
	for _, c := range all {
		carried[c.ID] = [directions]uint64{c.ToService, c.ToClient}
		before, ok := s.carried[c.ID]
		over := took.Seconds()
		if !ok && (s.carried == nil || c.Age > over) || took > speedsLast {
			continue
		}
		if !ok { // it is new
			over = max(c.Age, 0.1)
		}
		known[c.ID] = speed{
			toService: float64(c.ToService-before[toService]) / over,
			toClient:  float64(c.ToClient-before[toClient]) / over,
		}
	}
	s.at, s.carried, s.known = now, carried, known
	return known
}
