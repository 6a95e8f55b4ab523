//go:build unix

package test

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/secureportal/sp/internal/webtest"
)

// rootVariables say which certificates the system believes: a file and a folder.
var rootVariables = []string{"SSL_CERT_FILE", "SSL_CERT_DIR"}

// fewRoots has all processes find one certificate that the system believes, of nobody, in place of
// some hundred and forty: to read those is a third of what a start costs. In the longer forms they
// are read. It returns what undoes it.
func fewRoots() (undo func(), err error) {
	if isLonger() {
		return func() {}, nil
	}
	cert, _, err := webtest.SelfSigned()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sp-roots")
	if err != nil {
		return nil, err
	}
	file, empty := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "none")
	return func() { _ = os.RemoveAll(dir) }, errors.Join(
		os.Chmod(dir, 0o755), // some of the processes are other users'
		os.WriteFile(file, cert, 0o644), os.Mkdir(empty, 0o755),
		os.Setenv(rootVariables[0], file), os.Setenv(rootVariables[1], empty))
}
