//go:build unix

package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// selfSigned makes a certificate for this machine, and its key, as the texts of files.
func selfSigned() (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sp test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	in := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return in("CERTIFICATE", der), in("PRIVATE KEY", encoded), nil
}

// rootVariables say which certificates the system believes: a file and a folder.
var rootVariables = []string{"SSL_CERT_FILE", "SSL_CERT_DIR"}

// fewRoots has all processes find one certificate that the system believes, of nobody, in place of
// some hundred and forty: to read those is a third of what a start costs. In the longer forms they
// are read. It returns what undoes it.
func fewRoots() (undo func(), err error) {
	if isLonger() {
		return func() {}, nil
	}
	cert, _, err := selfSigned()
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
		os.WriteFile(file, []byte(cert), 0o644), os.Mkdir(empty, 0o755),
		os.Setenv(rootVariables[0], file), os.Setenv(rootVariables[1], empty))
}
