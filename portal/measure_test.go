package portal

import (
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// dialMeasured connects to the measured service, and reads its greeting.
func dialMeasured(t *testing.T) netio.Conn {
	t.Helper()
	c, err := DialMeasured(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	greeting := make([]byte, len(MeasureGreeting))
	if _, err := io.ReadFull(c, greeting); err != nil || string(greeting) != MeasureGreeting {
		t.Fatalf("it says %q, %v", greeting, err)
	}
	return c.(netio.Conn)
}

// TestMeasured has the measured service send back, count, and send.
func TestMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dialMeasured(t)
		_, _ = c.Write(AppendMeasure(nil, MeasureEcho, 0))
		_, _ = io.WriteString(c, "hello")
		back := make([]byte, 5)
		if _, err := io.ReadFull(c, back); err != nil || string(back) != "hello" {
			t.Errorf("it sends back %q, %v", back, err)
		}
		_ = c.CloseWrite()
		if n, err := c.Read(back); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
		_ = c.Close()

		c = dialMeasured(t)
		_, _ = c.Write(AppendMeasure(nil, MeasureUp, 0))
		_, _ = c.Write(make([]byte, 100_000))
		_ = c.CloseWrite()
		count, err := io.ReadAll(c)
		if err != nil || len(count) != 8 || binary.BigEndian.Uint64(count) != 100_000 {
			t.Errorf("it has counted %x, %v", count, err)
		}
		_ = c.Close()

		c = dialMeasured(t)
		began := time.Now()
		_, _ = c.Write(AppendMeasure(nil, MeasureDown, time.Second))
		for err = nil; err == nil; time.Sleep(time.Millisecond) {
			_, err = c.Read(make([]byte, 64<<10))
		}
		if took := time.Since(began); err != io.EOF || took < time.Second || took > 2*time.Second {
			t.Errorf("it has sent for %v, %v", took, err)
		}
		_ = c.Close()
	})
}

// TestMeasuredIsBounded has the measured service end what lasts too long or says nothing, and
// refuse what is too many. None of that looks like an end.
func TestMeasuredIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for name, says := range map[string][]byte{
			"nothing": nil, "something else": []byte("GET / HTTP/1.1"),
			"echo":    AppendMeasure(nil, MeasureEcho, 0),
			"forever": AppendMeasure(nil, MeasureDown, time.Hour),
		} {
			c := dialMeasured(t)
			go func() { _, _ = c.Write(says) }()
			var err error
			for err == nil {
				time.Sleep(10 * time.Millisecond)
				_, err = c.Read(make([]byte, 64<<10))
			}
			if name != "forever" && err == io.EOF {
				t.Errorf("who says %s sees an end", name)
			}
			_ = c.Close()
		}
		if took := time.Since(began); took > 4*MeasureMost {
			t.Errorf("it took %v", took)
		}
		var all []netio.Conn
		for range maxMeasured {
			all = append(all, dialMeasured(t))
		}
		if c, err := DialMeasured(t.Context()); err == nil {
			_ = c.Close()
			t.Error("there is no bound")
		}
		for _, c := range all {
			_ = c.Close()
		}
		_ = dialMeasured(t).Close()
		if n := measured.Load(); n != 0 {
			t.Errorf("%d are counted, and there are none", n)
		}
	})
}
