//go:build linux

// Package load is both ends of the traffic that tunnels are measured with: the
// service behind the tunnel ([Serve]) and its clients.
//
// The first byte of a connection says what it is for:
//
//	'e'                      echo, this byte included, until the end
//	'u' | count (8)          count bytes follow, and the service answers one byte
//	'd' | count (8)          the service sends count bytes
package load

import (
	"context"
	"encoding/binary"
	"net"
	"syscall"
	"time"
)

const (
	modeEcho     = 'e'
	modeUpload   = 'u'
	modeDownload = 'd'

	headerSize  = 9
	bulkBuffer  = 256 << 10
	echoBuffer  = 4 << 10
	dialTimeout = 10 * time.Second

	// sources is how many loopback addresses clients dial from, so that closed
	// connections in TIME_WAIT do not use up the ports of one.
	sources = 8
)

// MaxWrite is the largest write that a client makes.
const MaxWrite = 1 << 20

func header(mode byte, count int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{mode}, uint64(count))
}

// dial connects to addr as the i-th client, until ctx's deadline.
func dial(ctx context.Context, addr string, i int) (*net.TCPConn, error) {
	d := net.Dialer{
		Timeout:   dialTimeout,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%sources))},
		Control:   bindLate,
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn.(*net.TCPConn), nil
}

// bindLate has the kernel choose the local port when it knows the destination:
// a port then serves one connection to each, not one in all.
func bindLate(_, _ string, raw syscall.RawConn) error {
	const ipBindAddressNoPort = 24
	var err error
	ctlErr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}
