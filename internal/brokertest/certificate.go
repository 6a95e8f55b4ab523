package brokertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/secureportal/sp/internal/webtest"
)

// Certificate makes a certificate for localhost, which has signed itself, and returns the files of
// it and of its key.
func Certificate(t testing.TB) (certificate, key string) {
	t.Helper()
	certText, keyText, err := webtest.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, text := range map[string][]byte{certificate: certText, key: keyText} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}
