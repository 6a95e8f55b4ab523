//go:build linux

package topology

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/processor"
)

// TestNegotiatedCiphers: the TLS tunnels that are here agree on the suite that their
// rows name. A tap between their ends reads it from the ServerHello.
//
//	client ──▶ tunnel's client ──▶ tap ──▶ tunnel's server ──▶ service
func TestNegotiatedCiphers(t *testing.T) {
	skipWithoutAES(t)
	kit, err := NewKit(t.TempDir(), Builds{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, topology := range []Topology{ghostunnel(), stunnel(), socat()} {
		t.Run(topology.Name, func(t *testing.T) {
			if missing := kit.Missing(topology); missing != "" {
				t.Skipf("there is no %s", missing)
			}
			tap := newTap(t)
			running, err := topology.over(tap.line).Start(t.Context(), kit, startService(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := running.Close(); err != nil {
				t.Error(err)
			}
			if got := tap.suite(t); got != topology.Cipher {
				t.Errorf("it is %s, and the row says %s", got, topology.Cipher)
			}
		})
	}
}

// TestGoTLSCipher: two ends of crypto/tls as it comes, which is what ghostunnel and
// frp are, agree on the suite that their rows name.
func TestGoTLSCipher(t *testing.T) {
	skipWithoutAES(t)
	certs, err := makeCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(certs.server.cert, certs.server.key)
	if err != nil {
		t.Fatal(err)
	}
	ln := tls.NewListener(listenLoopback(t), &tls.Config{Certificates: []tls.Certificate{cert}})
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			defer conn.Close()
			err = conn.(*tls.Conn).Handshake()
		}
		served <- err
	}()
	client, err := tls.Dial("tcp", ln.Addr().String(),
		&tls.Config{InsecureSkipVerify: true}) // only the suite matters
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if got := tls.CipherSuiteName(client.ConnectionState().CipherSuite); got != goTLSCipher {
		t.Errorf("it is %s, not %s", got, goTLSCipher)
	}
}

func skipWithoutAES(t *testing.T) {
	t.Helper()
	if !slices.Contains(processor.Here().Instructions, "aes") {
		t.Skip("without AES instructions, ends agree on something else")
	}
}

// startService runs the service behind the tunnel until the test ends.
func startService(t *testing.T) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ln := listenLoopback(t)
	done := make(chan error, 1)
	go func() { done <- load.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func listenLoopback(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// A tap passes bytes on and keeps the first ones of each server.
type tap struct {
	ln    *net.TCPListener
	first chan []byte // what servers said first
	conns sync.WaitGroup
}

// helloSize reaches beyond the suite in a ServerHello, which is a server's first.
const (
	helloSize = 5 + 4 + 2 + 32 + 1 + 32 + 2
	helloMost = 64 // of connections whose ServerHello is kept
)

func newTap(t *testing.T) *tap {
	tap := &tap{ln: listenLoopback(t), first: make(chan []byte, helloMost)}
	t.Cleanup(func() {
		tap.ln.Close()
		tap.conns.Wait()
	})
	return tap
}

// line is for Topology.over.
func (p *tap) line(_ *site, addr string) (string, error) {
	p.conns.Go(func() {
		for {
			client, err := p.ln.AcceptTCP()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.pass(client, addr) })
		}
	})
	return p.ln.Addr().String(), nil
}

func (p *tap) pass(client *net.TCPConn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	var up sync.WaitGroup
	defer up.Wait()
	up.Go(func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	})
	hello := make([]byte, helloSize)
	n, err := io.ReadFull(server, hello)
	if err == nil {
		select {
		case p.first <- hello:
		default:
		}
	}
	client.Write(hello[:n])
	io.Copy(client, server)
	client.CloseWrite()
}

// suite is the name of the one that a server chose.
func (p *tap) suite(t *testing.T) string {
	t.Helper()
	select {
	case hello := <-p.first:
		id, err := parseServerHello(hello)
		if err != nil {
			t.Fatalf("%v: %x", err, hello)
		}
		return tls.CipherSuiteName(id)
	default:
		t.Fatal("no server said anything")
		return ""
	}
}

// parseServerHello reads the suite from a record (RFC 8446 §5.1) that begins with a
// ServerHello (§4.1.3).
func parseServerHello(record []byte) (suite uint16, err error) {
	const (
		handshake, serverHello = 22, 2
		session                = 5 + 4 + 2 + 32 // where the session's length is
	)
	if record[0] != handshake || record[5] != serverHello {
		return 0, errors.New("not a ServerHello")
	}
	at := session + 1 + int(record[session])
	if at+2 > len(record) {
		return 0, errors.New("too long a session")
	}
	return binary.BigEndian.Uint16(record[at:]), nil
}
