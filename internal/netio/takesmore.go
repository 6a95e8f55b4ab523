package netio

// MoreTaker is a connection that can tell whether it takes a few bytes more without waiting.
type MoreTaker interface {
	TakesMore() bool
}

// TakesMore tells whether a few bytes can be written to c without waiting for the other end to
// read. It may be wrong where somebody else writes. A connection that cannot tell takes nothing.
func TakesMore(c any) bool {
	t, ok := c.(MoreTaker)
	return ok && t.TakesMore()
}
