//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Transfer moves bytes one way, over several connections at once.
type Transfer struct {
	Up      bool  // from client to service
	Streams int   // connections
	Bytes   int64 // over all of them
	Write   int   // size of an upload's writes; 0 means 256 KiB
}

// Run returns how long it took until the last byte had arrived. The connections
// are made before the clock starts.
func (t Transfer) Run(ctx context.Context, addr string) (time.Duration, error) {
	size := t.Write
	if size == 0 {
		size = bulkBuffer
	}
	if t.Streams < 1 || size < 1 || size > MaxWrite {
		return 0, fmt.Errorf("transfer of %d streams with writes of %d bytes", t.Streams, size)
	}
	start := make(chan struct{})
	var ready, ended sync.WaitGroup
	errs := make([]error, t.Streams)
	for i := range t.Streams {
		ready.Add(1)
		ended.Go(func() { errs[i] = t.stream(ctx, addr, i, size, &ready, start) })
	}
	ready.Wait()
	began := time.Now()
	close(start)
	ended.Wait()
	return time.Since(began), errors.Join(errs...)
}

// stream is the i-th connection: it says that it is ready, waits for start, and moves
// its share of the bytes.
func (t Transfer) stream(
	ctx context.Context, addr string, i, size int, ready *sync.WaitGroup, start <-chan struct{},
) error {
	conn, err := dial(ctx, addr, i)
	ready.Done()
	<-start
	if err != nil {
		return err
	}
	defer conn.Close()
	count := t.Bytes / int64(t.Streams)
	buf := make([]byte, size)
	if !t.Up {
		if _, err := conn.Write(header(modeDownload, count)); err != nil {
			return err
		}
		return readN(conn, buf, count)
	}
	if _, err := conn.Write(header(modeUpload, count)); err != nil {
		return err
	}
	if err := writeN(conn, buf, count); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, buf[:1])
	return err
}
