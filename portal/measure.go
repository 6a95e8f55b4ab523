package portal

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A measured service is one that an outlet has itself, for sp bench: what it costs to get there and
// back is the way, and nothing else. It says MeasureGreeting, so that who means another service
// finds out before he has said anything. Whoever has opened the connection says what it is to do:
//
//	what (1) | milliseconds (4)
//
// It sends back what comes (MeasureEcho); takes what comes until that ends, and answers with how
// many bytes that was (MeasureUp, 8); or sends for as long as it was told (MeasureDown).

// What a measured service does. Numbers are in network order.
const (
	MeasureEcho byte = 'e'
	MeasureUp   byte = 'u'
	MeasureDown byte = 'd'

	measureHeader = 5
)

// MeasureGreeting is the first that a measured service says.
const MeasureGreeting = "sp-bench"

// Bounds of a measured service, of which the whole process has one.
const (
	// MeasureMost is how long a connection to it may last.
	MeasureMost = 2 * time.Minute

	maxMeasured   = 64       // connections at once
	measureBuffer = 64 << 10 // bytes that are sent or taken at once
)

// AppendMeasure appends what is said to a measured service first. For how long counts for
// MeasureDown only.
func AppendMeasure(dst []byte, what byte, long time.Duration) []byte {
	long = min(max(long, 0), MeasureMost)
	return binary.BigEndian.AppendUint32(append(dst, what), uint32(long.Milliseconds()))
}

// measured is how many connections there are to it.
var measured atomic.Int64

var (
	errManyMeasured = errors.New("too many connections are being measured at once")
	errNoMeasure    = errors.New("that is not what sp bench says first")
	errMeasureCut   = errors.New("the measured service has ended the connection before its end")
)

// DialMeasured makes a connection to the process's measured service: it is an Outlet's Dial. Its
// Close waits for what serves it.
func DialMeasured(context.Context) (net.Conn, error) {
	if measured.Add(1) > maxMeasured {
		measured.Add(-1)
		return nil, errManyMeasured
	}
	there, in := net.Pipe()
	out, back := net.Pipe()
	c := &measuredConn{w: there, r: back}
	_ = in.SetDeadline(time.Now().Add(MeasureMost))
	_ = out.SetDeadline(time.Now().Add(MeasureMost))
	c.serving.Go(func() {
		defer measured.Add(-1)
		defer in.Close()
		defer out.Close()
		if serveMeasured(in, out) != nil {
			c.cut.Store(true)
		}
	})
	return c, nil
}

// serveMeasured does what a connection says first.
func serveMeasured(in io.Reader, out net.Conn) error {
	if _, err := io.WriteString(out, MeasureGreeting); err != nil {
		return err
	}
	var header [measureHeader]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return err
	}
	long := time.Duration(binary.BigEndian.Uint32(header[1:])) * time.Millisecond
	buffer := make([]byte, measureBuffer)
	switch header[0] {
	case MeasureEcho:
		_, err := io.CopyBuffer(out, onlyReader{in}, buffer)
		return err
	case MeasureUp:
		n, err := io.CopyBuffer(io.Discard, onlyReader{in}, buffer)
		if err == nil {
			_, err = out.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		}
		return err
	case MeasureDown:
		for end := time.Now().Add(min(long, MeasureMost)); time.Now().Before(end); {
			if _, err := out.Write(buffer); err != nil {
				return err
			}
		}
		return nil
	}
	return errNoMeasure
}

// onlyReader has io.CopyBuffer use the buffer.
type onlyReader struct{ io.Reader }

// measuredConn is a connection to the service: a pipe for each direction, of which each ends on
// its own.
type measuredConn struct {
	r, w    net.Conn
	serving sync.WaitGroup
	cut     atomic.Bool // the end is none
}

func (c *measuredConn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF && c.cut.Load() {
		err = errMeasureCut
	}
	return n, err
}

func (c *measuredConn) Write(p []byte) (int, error) { return c.w.Write(p) }

// CloseWrite implements netio.Conn.
func (c *measuredConn) CloseWrite() error { return c.w.Close() }

// Close ends both directions, and what serves them.
func (c *measuredConn) Close() error {
	err := errors.Join(c.w.Close(), c.r.Close())
	c.serving.Wait()
	return err
}

func (c *measuredConn) LocalAddr() net.Addr  { return measuredAddr{} }
func (c *measuredConn) RemoteAddr() net.Addr { return measuredAddr{} }

func (c *measuredConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *measuredConn) SetReadDeadline(t time.Time) error  { return c.r.SetReadDeadline(t) }
func (c *measuredConn) SetWriteDeadline(t time.Time) error { return c.w.SetWriteDeadline(t) }

type measuredAddr struct{}

func (measuredAddr) Network() string { return "bench" }
func (measuredAddr) String() string  { return "bench:" }
