//go:build linux

package topology

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const certLifetime = 24 * time.Hour

// certificates are the files that the TLS tunnels authenticate each other with:
// both ends are signed by one authority.
type certificates struct {
	authority      string // certificate only
	server, client keyPair
}

type keyPair struct {
	cert, key string
	both      string // in one file, as socat wants it
}

type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func makeCertificates(dir string) (certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, err
	}
	template := newTemplate(1, "bench authority")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificates{}, err
	}
	c := certificates{authority: filepath.Join(dir, "authority.pem")}
	if err := os.WriteFile(c.authority, pemCert(der), 0o600); err != nil {
		return certificates{}, err
	}
	by := signer{cert: template, key: key}
	if c.server, err = by.issue(dir, 2, "server"); err != nil {
		return certificates{}, err
	}
	c.client, err = by.issue(dir, 3, "client")
	return c, err
}

// issue makes the key pair of one end, good for 127.0.0.1 and for both roles.
func (s signer) issue(dir string, serial int64, name string) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	template := newTemplate(serial, name)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.DNSNames = []string{"localhost"}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{
		x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, &key.PublicKey, s.key)
	if err != nil {
		return keyPair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keyPair{}, err
	}
	certPEM := pemCert(der)
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pair := keyPair{
		cert: filepath.Join(dir, name+".pem"),
		key:  filepath.Join(dir, name+".key"),
		both: filepath.Join(dir, name+".both.pem"),
	}
	for path, data := range map[string][]byte{
		pair.cert: certPEM, pair.key: keyPEM, pair.both: append(keyPEM, certPEM...),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return keyPair{}, err
		}
	}
	return pair, nil
}

func newTemplate(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certLifetime),
	}
}

func pemCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
