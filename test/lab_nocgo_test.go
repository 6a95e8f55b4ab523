//go:build !cgo

package test

// cgoEnabled says whether these tests were built where C may be, and so what links to them may be
// dynamic.
const cgoEnabled = false
