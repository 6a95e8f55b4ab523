//go:build unix

package test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/secureportal/sp/internal/netio"
)

// certificate makes a server's certificate for 127.0.0.1, and a file by which it is verified.
func certificate(t *testing.T) (server tls.Certificate, file string) {
	t.Helper()
	s := httptest.NewTLSServer(nil) // which has one
	defer s.Close()
	server = s.TLS.Certificates[0]
	file = filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate[0]}))
	if _, err := x509.ParseCertificate(server.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	return server, file
}

// tlsService listens for TLS, and returns where, for a target.
func tlsService(t *testing.T, certificate tls.Certificate) (l net.Listener, target string) {
	t.Helper()
	l, err := tls.Listen("tcp", anywhere, &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, "tls://" + l.Addr().String()
}

// TestTargetTLS has an outlet speak TLS to its service, and a client nothing of it; with a service
// that cannot be verified it does not speak at all.
func TestTargetTLS(t *testing.T) {
	t.Parallel()
	certificate, ca := certificate(t)
	l, target := tlsService(t, certificate)
	service := http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = service.Serve(l) }()
	u := newPerson(t)
	verified := u.start("outlet", "--listen", anywhere, "--target", target, "--target-ca", ca)
	inlet := u.inletTo(wordBehind(t, verified.ready(), "--to"))
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	body := io.LimitReader(pseudorandom(1), 1<<20)
	answer, err := client.Post("http://"+inlet, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := verifyFrom(answer.Body, pseudorandom(1), 1<<20); err != nil {
		t.Error(err)
	}

	other := u.start("outlet", "--listen", anywhere, "--target", target)
	to := wordBehind(t, other.ready(), "--to")
	p := start(t, u.command("inlet", "--listen", "-", "--to", to))
	p.ends(3)
	p.says("the target cannot be reached")
	other.says("certificate signed by unknown authority")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	misnamed := u.start("outlet", "--listen", anywhere, "--target", "tls://localhost:"+port,
		"--target-ca", ca)
	p = start(t, u.command("inlet", "--listen", "-", "--to",
		wordBehind(t, misnamed.ready(), "--to")))
	p.ends(3)
	misnamed.says("certificate is valid for")
}

// TestTargetTLSEnds has each end of a direction over TLS be passed on, and a connection that is cut
// without it not be taken for an end.
func TestTargetTLSEnds(t *testing.T) {
	t.Parallel()
	certificate, ca := certificate(t)
	l, target := tlsService(t, certificate)
	u := newPerson(t)
	outlet := u.start("outlet", "--listen", anywhere, "--target", target, "--target-ca", ca)
	inlet := u.inletTo(wordBehind(t, outlet.ready(), "--to"))
	open := func() (c conn, far *tls.Conn) {
		c = dial(t, inlet)
		send(t, c, "hello")
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = accepted.Close() })
		far = accepted.(*tls.Conn)
		receives(t, far, "hello")
		return c, far
	}
	c, far := open()
	halfClose(t, c)
	receivesEnd(t, far)
	send(t, far, "answer")
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receives(t, c, "answer")
	receivesEnd(t, c)

	c, far = open()
	send(t, far, "part")
	receives(t, c, "part")
	_ = far.NetConn().Close()
	if _, err := io.ReadAll(c); !netio.IsReset(err) {
		t.Errorf("cut without an end: %v", err)
	}
}
