package report

import "math"

// An axis maps values to pixels between from and to.
type axis struct {
	least, most float64
	from, to    float64
	log         bool
}

// pixel is where v is. On a logarithmic axis everything is positive.
func (a axis) pixel(v float64) float64 {
	lo, hi := a.least, a.most
	if a.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(v)
	}
	if hi == lo {
		return a.from
	}
	return a.from + (v-lo)/(hi-lo)*(a.to-a.from)
}

// within is where v is, or the end of the axis if it is beyond.
func (a axis) within(v float64) float64 { return a.pixel(min(v, a.most)) }

// maxTicks is how many lines a linear axis has at most.
const maxTicks = 6

// ticks are round values on the axis.
func (a axis) ticks() []float64 {
	var ticks []float64
	if a.log {
		return a.logTicks()
	}
	step := roundStep((a.most - a.least) / maxTicks)
	for i := math.Ceil(a.least / step); i*step <= a.most; i++ {
		ticks = append(ticks, i*step)
	}
	return ticks
}

// logTicks are 1, 2 and 5 times the powers of ten, or these alone where that
// would be too many.
func (a axis) logTicks() []float64 {
	var ticks []float64
	steps := []float64{1, 2, 5}
	if a.most > 1000*a.least {
		steps = steps[:1]
	}
	for power := math.Pow(10, math.Floor(math.Log10(a.least))); power <= a.most; power *= 10 {
		for _, m := range steps {
			if v := m * power; v >= a.least && v <= a.most {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}

// roundStep is the smallest 1, 2 or 5 times a power of ten that is at least v.
func roundStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}
