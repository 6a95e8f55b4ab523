//go:build linux

package load

import (
	"context"
	"net"
	"testing"
	"time"
)

func serve(t *testing.T) string {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestTransfer(t *testing.T) {
	addr := serve(t)
	for _, tr := range []Transfer{
		{Up: true, Streams: 1, Bytes: 3 << 20},
		{Up: true, Streams: 3, Bytes: 30000, Write: 1},
		{Up: false, Streams: 8, Bytes: 8 << 20},
	} {
		if took, err := tr.Run(t.Context(), addr); err != nil || took <= 0 {
			t.Errorf("%+v: %v, %v", tr, took, err)
		}
	}
	if _, err := (Transfer{Streams: 1, Write: MaxWrite + 1}).Run(t.Context(), addr); err == nil {
		t.Error("too large a write was accepted")
	}
}

func TestRoundTrips(t *testing.T) {
	addr := serve(t)
	trips, err := RoundTrips(t.Context(), addr, 1024, 50, time.Minute)
	if err != nil || len(trips) != 50 {
		t.Errorf("%d trips, %v", len(trips), err)
	}
	trips, err = RoundTrips(t.Context(), addr, 1024, 50, 0)
	if err != nil || len(trips) != 1 {
		t.Errorf("%d trips without time, %v", len(trips), err)
	}
}

func TestChurn(t *testing.T) {
	addr := serve(t)
	made, took, err := Churn{AtOnce: 4, Count: 50, Limit: time.Minute}.Run(t.Context(), addr)
	if err != nil || made != 50 || took <= 0 {
		t.Errorf("%d connections in %v, %v", made, took, err)
	}
}

func TestIdle(t *testing.T) {
	addr := serve(t)
	var p Idle
	defer p.Close()
	for _, n := range []int{10, 25} {
		if err := p.Grow(t.Context(), addr, n); err != nil || p.Len() != n {
			t.Fatalf("%d connections of %d, %v", p.Len(), n, err)
		}
	}
	p.conns[3].Close()
	p.conns[7].Close()
	if lost := p.Lost(); lost != 2 {
		t.Errorf("%d lost, want 2", lost)
	}
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if _, err := (Transfer{Streams: 2, Bytes: 10}).Run(t.Context(), addr); err == nil {
		t.Error("transfer to nobody")
	}
	var p Idle
	if err := p.Grow(t.Context(), addr, 3); err == nil {
		t.Error("connections to nobody")
	}
}
