package relay

import (
	"errors"
	"slices"

	"github.com/secureportal/sp/route"
)

// Sharer is one of several processes that share a name, as a relay says it.
type Sharer struct {
	Instance Instance
	Sick     bool // its target is not well
}

// sharersVersion begins a list of them.
const sharersVersion = 1

// sharerSize is how many bytes say one.
const sharerSize = instanceSize + 1

// MaxSharers is the most bytes of a list of them.
const MaxSharers = 2 + maxSharers*sharerSize

// errSharers says that what a relay has answered is no list of processes.
var errSharers = errors.New("not a list of the processes that share a name")

// AppendSharers appends a list, of which the first that a list may have are said.
func AppendSharers(dst []byte, all []Sharer) []byte {
	all = all[:min(len(all), maxSharers)]
	dst = append(dst, sharersVersion, byte(len(all)))
	for _, s := range all {
		state := byte(saysWell)
		if s.Sick {
			state = saysSick
		}
		dst = append(append(dst, s.Instance[:]...), state)
	}
	return dst
}

// ParseSharers reads a list, and nothing else. It is what a relay says, and may be wrong.
func ParseSharers(b []byte) ([]Sharer, error) {
	if len(b) < 2 || b[0] != sharersVersion || b[1] > maxSharers ||
		len(b) != 2+int(b[1])*sharerSize {
		return nil, errSharers
	}
	var all []Sharer
	for one := range slices.Chunk(b[2:], sharerSize) {
		s := Sharer{Instance: Instance(one[:instanceSize]), Sick: one[instanceSize] == saysSick}
		same := func(other Sharer) bool { return other.Instance == s.Instance }
		if one[instanceSize] > saysSick || slices.ContainsFunc(all, same) {
			return nil, errSharers
		}
		all = append(all, s)
	}
	return all, nil
}

// Step is the step behind the name that leads to the process.
func (s Sharer) Step() route.Address { return route.Instance(s.Instance) }
