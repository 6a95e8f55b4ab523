package report

import (
	"maps"
	"math"
	"slices"
	"time"
)

// A Summary is what a table says of a series. N is 0 if there is nothing to say.
type Summary struct {
	Median, Min, Max float64
	N                int
}

// Summary is the median of the repetitions, and their extremes.
func (s Series) Summary() Summary {
	values := slices.Sorted(maps.Values(s))
	n := len(values)
	if n == 0 {
		return Summary{}
	}
	return Summary{
		Median: (values[(n-1)/2] + values[n/2]) / 2,
		Min:    values[0],
		Max:    values[n-1],
		N:      n,
	}
}

// Percentile is the smallest value that at least the share p (0 to 1) of the
// sorted values does not exceed.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
