//go:build !unix

package netio

// TakesMore implements Taker: here nobody can tell, and what is written might wait.
func (*Socket) TakesMore() bool { return false }
