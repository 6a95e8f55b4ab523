//go:build !unix

package cli

func ignoreReopen() {}

// onReopen does nothing: there is no such signal here.
func onReopen(func()) (ignore func()) { return func() {} }
