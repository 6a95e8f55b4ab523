package daemon

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/internal/textfile"
	"github.com/secureportal/sp/route/transport"
)

// tlsFiles is the certificate that a node shows where it listens over TLS, as its files last had
// it, and whose certificates it believes. It is safe for concurrent use, but for refresh, which is
// for one at a time.
type tlsFiles struct {
	logger    *slog.Logger // set once
	cert, key *watchedFile // nil if there is no certificate
	roots     *x509.CertPool

	current atomic.Pointer[tls.Certificate]
}

// newTLSFiles reads the files that n names.
func newTLSFiles(n config.Node, logger *slog.Logger) (*tlsFiles, error) {
	t := &tlsFiles{logger: logger}
	if n.TLSCA != "" {
		text, err := textfile.Read(n.TLSCA)
		t.roots = x509.NewCertPool()
		if err == nil && !t.roots.AppendCertsFromPEM([]byte(text)) {
			err = errors.New("there is no certificate in it")
		}
		if err != nil {
			return nil, fmt.Errorf("TLS authorities file %s: %w", n.TLSCA, err)
		}
	}
	if n.TLSCert == "" {
		return t, nil
	}
	t.cert, t.key = &watchedFile{path: n.TLSCert}, &watchedFile{path: n.TLSKey}
	t.cert.stamp()
	t.key.stamp()
	_, err := t.read()
	return t, err
}

// paths are the files that are read again.
func (t *tlsFiles) paths() []string {
	if t.cert == nil {
		return nil
	}
	return []string{t.cert.path, t.key.path}
}

// config is what transports have of it.
func (t *tlsFiles) config() transport.TLSConfig {
	c := transport.TLSConfig{Roots: t.roots}
	if t.cert != nil {
		c.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.current.Load(), nil
		}
	}
	return c
}

// refresh reads the certificate again if one of its files has changed, or must be. What cannot be
// read is logged, and stays as it was: links that are open stay in any case.
func (t *tlsFiles) refresh(all bool) {
	if t.cert == nil {
		return
	}
	if t.key.stamp() {
		t.cert.info = nil // so that it is read as well
	}
	if t.cert.take(all, t.logger, t.read) {
		leaf := t.current.Load().Leaf
		t.logger.Info("new TLS certificate", "file", t.cert.path, "subject", leaf.Subject.String(),
			"expires", leaf.NotAfter)
	}
}

func (t *tlsFiles) read() (changed bool, err error) {
	cert, err := textfile.Read(t.cert.path)
	if err != nil {
		return false, fmt.Errorf("TLS certificate file %s: %w", t.cert.path, err)
	}
	key, err := textfile.Read(t.key.path)
	if err != nil {
		return false, fmt.Errorf("TLS key file %s: %w", t.key.path, err)
	}
	fresh, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return false, fmt.Errorf("TLS certificate file %s and key file %s: %w",
			t.cert.path, t.key.path, err)
	}
	before := t.current.Swap(&fresh)
	changed = before == nil || !bytes.Equal(before.Leaf.Raw, fresh.Leaf.Raw)
	if now := time.Now(); changed && (now.After(fresh.Leaf.NotAfter) ||
		now.Before(fresh.Leaf.NotBefore)) {
		t.logger.Warn("the TLS certificate is not valid now: put another one in its place",
			"file", t.cert.path, "from", fresh.Leaf.NotBefore, "until", fresh.Leaf.NotAfter)
	}
	return changed, nil
}

// loadSystemRoots has the certificates that the system believes be read while their files can be,
// if TLS may be needed: to read them is a third of all that it costs to start, and they stay in
// memory.
func loadSystemRoots(needs confine.Needs) {
	if needs.ConnectAnywhere || needs.Roots {
		_, _ = x509.SystemCertPool()
	}
}
