//go:build linux

// Package forward is the plain forwarders that tunnels are measured against.
// Each runs as a process of its own (`bench forward`), so that its cost is
// counted as a tunnel's is.
//
//	splice   io.Copy between the connections: the kernel moves the bytes
//	copy     read and write through a buffer: what any user-space proxy pays
//	seal     reads plain bytes and writes AES-256-GCM records  ┐ together the least
//	open     reads AES-256-GCM records and writes plain bytes  ┘ that a tunnel can cost
//	delay    a long line: so many bits a second, so much later
//
// Seal and open are a yardstick, not a protocol: the cipher is that of sp's suite,
// but the key is a constant and nobody is authenticated.
package forward

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	dialTimeout  = 10 * time.Second
	acceptRetry  = 5 * time.Millisecond // when there are no file descriptors left
	defaultBytes = 32 << 10
	maxBuffer    = 16 << 20
	defaultBatch = 4
	maxBatch     = 64
	maxBits      = 100e9
	maxDelay     = 10 * time.Second
)

// Config says what a forwarder does.
type Config struct {
	Mode   string // splice, copy, seal, open or delay
	Target string // host:port each connection is forwarded to
	Buffer int    // for copy, in bytes; 0 means 32 KiB
	Batch  int    // for seal and open: records to a read and a write; 0 means 4

	// For delay, in each direction.
	Bits  int64 // a second
	Delay time.Duration
}

// A direction moves everything from src to dst and returns at the end of src.
type direction func(dst, src *net.TCPConn) error

// Run serves ln until ctx is done and every connection has ended.
func Run(ctx context.Context, ln *net.TCPListener, cfg Config) error {
	toTarget, toClient, err := directions(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()

	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		client, err := ln.AcceptTCP()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			time.Sleep(acceptRetry)
			continue
		}
		conns.Go(func() { serve(ctx, client, cfg.Target, toTarget, toClient) })
	}
}

func directions(cfg Config) (toTarget, toClient direction, err error) {
	size, batch := cfg.Buffer, cfg.Batch
	if size == 0 {
		size = defaultBytes
	}
	if batch == 0 {
		batch = defaultBatch
	}
	if size < 1 || size > maxBuffer || batch < 1 || batch > maxBatch {
		return nil, nil, fmt.Errorf("buffer %d or batch %d out of range", size, batch)
	}
	switch cfg.Mode {
	case "splice":
		return spliced, spliced, nil
	case "copy":
		return copied(size), copied(size), nil
	case "seal":
		return sealed(batch), opened(batch), nil
	case "open":
		return opened(batch), sealed(batch), nil
	case "delay":
		if cfg.Bits < 1 || cfg.Bits > maxBits || cfg.Delay < 0 || cfg.Delay > maxDelay {
			return nil, nil, fmt.Errorf("%d bit/s or delay %v out of range", cfg.Bits, cfg.Delay)
		}
		return delayed(cfg.Bits, cfg.Delay), delayed(cfg.Bits, cfg.Delay), nil
	}
	return nil, nil, fmt.Errorf("no forwarder %q (splice, copy, seal, open, delay)", cfg.Mode)
}

func serve(ctx context.Context, client *net.TCPConn, target string, toTarget, toClient direction) {
	defer client.Close()
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	stop := context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})
	defer stop()

	var back sync.WaitGroup
	back.Go(func() { finish(toClient, client, server) })
	finish(toTarget, server, client)
	back.Wait()
}

// finish runs one direction and passes its end on; a failure ends the other
// direction too.
func finish(move direction, dst, src *net.TCPConn) {
	if err := move(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	dst.CloseWrite()
}

// spliced relies on TCPConn.ReadFrom, which is splice(2) between two sockets.
func spliced(dst, src *net.TCPConn) error {
	_, err := io.Copy(dst, src)
	return err
}

func copied(size int) direction {
	pool := sync.Pool{New: func() any { b := make([]byte, size); return &b }}
	return func(dst, src *net.TCPConn) error {
		buf := pool.Get().(*[]byte)
		defer pool.Put(buf)
		for {
			n, err := src.Read(*buf)
			if n > 0 {
				if _, err := dst.Write((*buf)[:n]); err != nil {
					return err
				}
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}
