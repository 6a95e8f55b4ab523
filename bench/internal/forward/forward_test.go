//go:build linux

package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"
)

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// start runs forwarders in front of target, the last one first, and returns the
// address of the first.
func start(t *testing.T, target string, row ...Config) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for i := len(row) - 1; i >= 0; i-- {
		ln := listen(t)
		cfg := row[i]
		cfg.Target = target
		go func() { done <- Run(ctx, ln, cfg) }()
		target = ln.Addr().String()
	}
	t.Cleanup(func() {
		cancel()
		for range row {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return target
}

// serveEcho answers each connection with everything it got, after its end: that
// needs half-close in both directions.
func serveEcho(ln *net.TCPListener) {
	for {
		conn, err := ln.AcceptTCP()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			data, err := io.ReadAll(conn)
			if err == nil {
				conn.Write(data)
			}
		}()
	}
}

func TestForward(t *testing.T) {
	rows := map[string][]Config{
		"splice":    {{Mode: "splice"}, {Mode: "splice"}},
		"copy":      {{Mode: "copy"}, {Mode: "copy", Buffer: 1000}},
		"aead":      {{Mode: "seal"}, {Mode: "open"}},
		"aead, 8":   {{Mode: "seal", Batch: 8}, {Mode: "open", Batch: 8}},
		"aead, 1":   {{Mode: "seal", Batch: 1}, {Mode: "open", Batch: 1}},
		"relayed":   {{Mode: "seal"}, {Mode: "splice"}, {Mode: "open"}},
		"delayed":   {{Mode: "delay", Bits: 1e9, Delay: 10 * time.Millisecond}},
		"different": {{Mode: "seal", Batch: 1}, {Mode: "open", Batch: 5}},
	}
	sent := make([]byte, 5<<20)
	rand.Read(sent)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			go serveEcho(ln)
			conn, err := net.Dial("tcp", start(t, ln.Addr().String(), row...))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			conn.(*net.TCPConn).CloseWrite()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes of %d came back, %v", len(got), len(sent), err)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{
		{Mode: "teleport"},
		{Mode: "copy", Buffer: -1},
		{Mode: "seal", Batch: maxBatch + 1},
		{Mode: "delay"},
	} {
		if err := Run(t.Context(), listen(t), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// TestDelay: 1 MiB at 100 Mbit/s takes 84 ms each way, one after the other since
// the echo waits for the end, and 20 ms each way on top.
func TestDelay(t *testing.T) {
	ln := listen(t)
	go serveEcho(ln)
	line := Config{Mode: "delay", Bits: 100e6, Delay: 20 * time.Millisecond}
	conn, err := net.Dial("tcp", start(t, ln.Addr().String(), line))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if took := time.Since(began); err != nil || len(got) != 1<<20 || took < 180*time.Millisecond {
		t.Errorf("%d bytes in %v, %v", len(got), took, err)
	}
}
