package daemon

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/secureportal/sp/internal/testkit"
)

// authority is one of ACME (RFC 8555), for one account and one order at a time, which believes
// whatever is signed. It looks for the owner of a name as it should (RFC 8737).
type authority struct {
	*httptest.Server
	owners chan string // where the owner of a name is; it is asked for when it is needed
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate

	mu         sync.Mutex // guards what follows
	orders     int
	refuses    bool
	refused    int
	thumbprint string
	host       string
	proved     bool
	issued     []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, owners: make(chan string, 1)}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

// file is one with the certificate of the authority's own server.
func (a *authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	shown := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	if err := os.WriteFile(path, shown, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve answers whatever is asked.
func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", "nonce")
	protected, payload := request(r)
	status, answer := http.StatusOK, any(nil)
	switch r.URL.Path {
	case "/": // the directory
		answer = map[string]string{
			"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/new",
		}
	case "/nonce":
	case "/account":
		a.thumbprint = thumbprint(protected)
		w.Header().Set("Location", a.URL+"/account/1")
		status, answer = http.StatusCreated, map[string]string{"status": "valid"}
	case "/new":
		if a.refuses {
			a.refused++
			status, answer = http.StatusForbidden, map[string]string{
				"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this one",
			}
			break
		}
		a.orders++
		a.host, a.proved, a.issued = wanted(payload), false, nil
		w.Header().Set("Location", a.URL+"/order")
		status, answer = http.StatusCreated, a.order()
	case "/order":
		answer = a.order()
	case "/authorization":
		answer = a.authorization()
	case "/challenge":
		a.proved = a.proves()
		answer = a.authorization()["challenges"].([]any)[0]
	case "/finalize":
		a.issue(payload)
		w.Header().Set("Location", a.URL+"/order")
		answer = a.order()
	case "/certificate":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(a.issued)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if answer != nil && r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// request returns the two parts of a signed request.
func request(r *http.Request) (protected, payload []byte) {
	var signed struct{ Protected, Payload string }
	_ = json.NewDecoder(r.Body).Decode(&signed)
	protected, _ = base64.RawURLEncoding.DecodeString(signed.Protected)
	payload, _ = base64.RawURLEncoding.DecodeString(signed.Payload)
	return protected, payload
}

// thumbprint is that of the key which the header of a request has (RFC 7638).
func thumbprint(protected []byte) string {
	var header struct{ JWK struct{ X, Y string } }
	_ = json.Unmarshal(protected, &header)
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`,
		header.JWK.X, header.JWK.Y))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func wanted(payload []byte) string {
	var order struct{ Identifiers []struct{ Value string } }
	if json.Unmarshal(payload, &order) != nil || len(order.Identifiers) != 1 {
		return ""
	}
	return order.Identifiers[0].Value
}

func (a *authority) order() map[string]any {
	status := "pending"
	switch {
	case a.issued != nil:
		status = "valid"
	case a.proved:
		status = "ready"
	}
	return map[string]any{
		"status": status, "authorizations": []string{a.URL + "/authorization"},
		"finalize": a.URL + "/finalize", "certificate": a.URL + "/certificate",
	}
}

func (a *authority) authorization() map[string]any {
	status := "pending"
	if a.proved {
		status = "valid"
	}
	return map[string]any{
		"status": status, "identifier": map[string]string{"type": "dns", "value": a.host},
		"challenges": []any{map[string]string{
			"type": "tls-alpn-01", "url": a.URL + "/challenge", "token": "token", "status": status,
		}},
	}
}

// proves tells whether the owner of the name shows what the account was asked for.
func (a *authority) proves() bool {
	c, err := tls.Dial("tcp", <-a.owners, &tls.Config{
		ServerName: a.host, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true,
	})
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	sum := sha256.Sum256([]byte("token." + a.thumbprint))
	want, _ := asn1.Marshal(sum[:])
	for _, extension := range c.ConnectionState().PeerCertificates[0].Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
			return c.ConnectionState().NegotiatedProtocol == acme.ALPNProto &&
				bytes.Equal(extension.Value, want)
		}
	}
	return false
}

func (a *authority) issue(payload []byte) {
	var finalize struct{ CSR string }
	_ = json.Unmarshal(payload, &finalize)
	der, _ := base64.RawURLEncoding.DecodeString(finalize.CSR)
	asked, err := x509.ParseCertificateRequest(der)
	if err != nil || !a.proved {
		return
	}
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(int64(a.orders + 1)), DNSNames: asked.DNSNames,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, asked.PublicKey, a.key)
	if err == nil {
		a.issued = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
}

// asked is how many orders there were.
func (a *authority) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.orders
}

func (a *authority) hasRefused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused > 0
}

// shows returns the certificate that is shown at an address to who asks for a name and believes
// the authority, or nil.
func (a *authority) shows(t *testing.T, at, name string) *x509.Certificate {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: roots}}
	c, err := d.DialContext(testkit.Context(t), "tcp", at)
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0]
}
