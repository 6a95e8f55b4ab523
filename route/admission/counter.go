package admission

import "github.com/secureportal/sp/identity"

const (
	anonymousKept = 4  // of all connections, this part is not for an anonymous source,
	anonymousPart = 16 // unless it has less than this part of that,
	anonymousMost = 64 // or than so many,
	anonymousFew  = 4  // but at least so many
)

// forAnonymous returns the limits for an anonymous source that has n connections, which a relay or
// a bridge forwards for whoever comes.
func (l Limits) forAnonymous(n int) Limits {
	kept := l.Connections / anonymousKept
	if n >= min(anonymousMost, max(kept/anonymousPart, anonymousFew)) {
		l.Connections -= kept
	}
	return l
}

// counter counts what is there, in all and by identity or source. It has no lock.
type counter struct {
	all int
	by  map[any]int // identity.Identifier or Source
}

func newCounter() counter { return counter{by: make(map[any]int)} }

// admit counts one more for p, or says which limit is in the way.
func (c *counter) admit(l Limits, p Party) error {
	if p.anonymous {
		l = l.forAnonymous(c.by[p.key])
	}
	most := l.PerSource
	if _, ok := p.key.(identity.Identifier); ok {
		most = l.PerIdentity
	}
	switch {
	case c.all >= l.Connections:
		return ErrTooMany
	case c.by[p.key] >= most:
		return ErrTooManyFromThere
	}
	c.enter(p.key)
	return nil
}

func (c *counter) enter(key any) {
	c.all++
	c.by[key]++
}

func (c *counter) leave(key any) {
	c.all--
	if c.by[key]--; c.by[key] == 0 {
		delete(c.by, key)
	}
}
