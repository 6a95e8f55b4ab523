//go:build !unix

package netio

// TakesMore implements MoreTaker: here nobody can tell, and what is written might wait.
func (*Socket) TakesMore() bool { return false }
