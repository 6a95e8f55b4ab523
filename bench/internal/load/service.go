//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

const acceptRetry = 5 * time.Millisecond // when there are no file descriptors left

var bulkBuffers = sync.Pool{New: func() any { b := make([]byte, bulkBuffer); return &b }}

// Serve is the service behind every tunnel, until ctx is done.
func Serve(ctx context.Context, ln *net.TCPListener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := ln.AcceptTCP()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			time.Sleep(acceptRetry)
			continue
		}
		conns.Go(func() {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			answer(conn) // a client that goes away is the client's to report
		})
	}
}

func answer(conn *net.TCPConn) error {
	var head [headerSize]byte
	if _, err := io.ReadFull(conn, head[:1]); err != nil {
		return err
	}
	if head[0] == modeEcho {
		return echo(conn)
	}
	if _, err := io.ReadFull(conn, head[1:]); err != nil {
		return err
	}
	count := int64(binary.BigEndian.Uint64(head[1:]))
	buf := bulkBuffers.Get().(*[]byte)
	defer bulkBuffers.Put(buf)
	if head[0] == modeDownload {
		return writeN(conn, *buf, count)
	}
	if err := readN(conn, *buf, count); err != nil {
		return err
	}
	_, err := conn.Write(head[:1])
	return err
}

func echo(conn *net.TCPConn) error {
	buf := make([]byte, echoBuffer)
	buf[0] = modeEcho
	n := 1
	for {
		if _, err := conn.Write(buf[:n]); err != nil {
			return err
		}
		var err error
		if n, err = conn.Read(buf); err != nil {
			return err
		}
	}
}

func writeN(conn *net.TCPConn, buf []byte, count int64) error {
	for count > 0 {
		n, err := conn.Write(buf[:min(count, int64(len(buf)))])
		if err != nil {
			return err
		}
		count -= int64(n)
	}
	return nil
}

func readN(conn *net.TCPConn, buf []byte, count int64) error {
	for count > 0 {
		n, err := conn.Read(buf[:min(count, int64(len(buf)))])
		if err != nil {
			return err
		}
		count -= int64(n)
	}
	return nil
}
