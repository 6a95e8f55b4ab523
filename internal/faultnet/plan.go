package faultnet

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan is everything that will go wrong on one link. The empty plan is a clean
// link. Plans may be put together with append.
type Plan []Fault

// Line is the plan of a healthy line with a delay one way and a bandwidth in
// bytes a second, the same in both directions; 0 is none and unlimited.
func Line(oneWay time.Duration, rate int64) Plan {
	var p Plan
	for _, dir := range []Direction{ClientToServer, ServerToClient} {
		if oneWay > 0 {
			p = append(p, Fault{Kind: Delay, Dir: dir, For: oneWay})
		}
		if rate > 0 {
			p = append(p, Fault{Kind: Bandwidth, Dir: dir, Rate: rate})
		}
	}
	return p
}

// Validate says what is wrong with p. In one direction no two byte faults may
// touch the same byte; faults on one message compose, in the order of the plan.
func (p Plan) Validate() error {
	for _, f := range p {
		if err := f.check(); err != nil {
			return err
		}
	}
	for _, dir := range []Direction{ClientToServer, ServerToClient} {
		var end int64
		for _, f := range p.pick(dir, Byte) {
			if f.At < end {
				return fmt.Errorf("%s lies inside the fault before it", f)
			}
			end = f.At + f.span()
		}
	}
	return nil
}

// pick returns the faults of one direction and unit in the order of their
// places; in one place those that steer come first.
func (p Plan) pick(dir Direction, unit Unit) Plan {
	var out Plan
	for _, f := range p {
		if f.Dir == dir && f.Unit == unit {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(min(a.span(), 1), min(b.span(), 1)))
	})
	return out
}

// String prints the plan as ParsePlan reads it: faults separated by "; ", for
// example "flip c2s msg 3 off -1; delay s2c byte 0 for 50ms".
func (p Plan) String() string {
	parts := make([]string, len(p))
	for i, f := range p {
		parts[i] = f.String()
	}
	return strings.Join(parts, "; ")
}

// String prints the fault: kind, direction, unit, place, and whatever of off,
// len, mask, for and rate is not zero.
func (f Fault) String() string {
	s := fmt.Sprintf("%s %s %s %d", f.Kind, f.Dir, f.Unit, f.At)
	if f.Off != 0 {
		s += fmt.Sprintf(" off %d", f.Off)
	}
	if f.Len != 0 {
		s += fmt.Sprintf(" len %d", f.Len)
	}
	if f.Mask != 0 {
		s += fmt.Sprintf(" mask %#02x", f.Mask)
	}
	if f.For != 0 {
		s += fmt.Sprintf(" for %s", f.For)
	}
	if f.Rate != 0 {
		s += fmt.Sprintf(" rate %d", f.Rate)
	}
	return s
}

// ParsePlan reads what Plan.String prints, and validates it.
func ParsePlan(s string) (Plan, error) {
	var p Plan
	for part := range strings.SplitSeq(s, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		f, err := parseFault(words)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", strings.TrimSpace(part), err)
		}
		p = append(p, f)
	}
	return p, p.Validate()
}

func parseFault(words []string) (f Fault, err error) {
	if len(words) < 4 || len(words)%2 != 0 {
		return f, fmt.Errorf("want: kind c2s|s2c byte|msg N [off|len|mask|for|rate VALUE]")
	}
	for k, name := range kinds {
		if name == words[0] {
			f.Kind = k
		}
	}
	if f.Kind == 0 {
		return f, fmt.Errorf("unknown kind %q", words[0])
	}
	if f.Dir, err = oneOf(words[1], ClientToServer, ServerToClient); err != nil {
		return f, err
	}
	if f.Unit, err = oneOf(words[2], Byte, Message); err != nil {
		return f, err
	}
	if f.At, err = strconv.ParseInt(words[3], 10, 64); err != nil {
		return f, err
	}
	for i := 4; i < len(words); i += 2 {
		if err := f.set(words[i], words[i+1]); err != nil {
			return f, err
		}
	}
	return f, nil
}

// oneOf returns the choice that prints as s.
func oneOf[T fmt.Stringer](s string, choices ...T) (T, error) {
	for _, c := range choices {
		if c.String() == s {
			return c, nil
		}
	}
	var none T
	return none, fmt.Errorf("unknown word %q", s)
}

// set takes one "name value" pair of a printed fault.
func (f *Fault) set(name, value string) (err error) {
	switch name {
	case "off":
		f.Off, err = strconv.ParseInt(value, 10, 64)
	case "len":
		f.Len, err = strconv.ParseInt(value, 10, 64)
	case "rate":
		f.Rate, err = strconv.ParseInt(value, 10, 64)
	case "for":
		f.For, err = time.ParseDuration(value)
	case "mask":
		var m uint64
		m, err = strconv.ParseUint(value, 0, 8)
		f.Mask = byte(m)
	default:
		err = fmt.Errorf("unknown word %q", name)
	}
	return err
}
