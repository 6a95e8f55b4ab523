//go:build unix

package test

import (
	"bytes"
	"os/exec"
	"testing"
)

// must runs cmd, which must succeed, and returns what it printed on stdout.
func must(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	return out
}
