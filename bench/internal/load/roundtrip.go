//go:build linux

package load

import (
	"context"
	"io"
	"net"
	"time"
)

const warmupTrips = 100

// RoundTrips sends a request of size bytes and waits for as many, one after the
// other on one connection, and returns how long each took. It ends after limit,
// or count of them.
func RoundTrips(
	ctx context.Context, addr string, size, count int, limit time.Duration,
) ([]time.Duration, error) {
	conn, err := dial(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	buf := make([]byte, size)
	buf[0] = modeEcho
	trips := make([]time.Duration, 0, count)
	for i := -warmupTrips; i < count; i++ {
		began := time.Now()
		if err := trip(conn, buf); err != nil {
			return nil, err
		}
		took := time.Since(began)
		if i < 0 {
			continue
		}
		trips = append(trips, took)
		if limit -= took; limit < 0 {
			break
		}
	}
	return trips, nil
}

func trip(conn *net.TCPConn, buf []byte) error {
	if _, err := conn.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, buf)
	return err
}
