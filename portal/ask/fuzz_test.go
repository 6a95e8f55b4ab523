package ask

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/secureportal/sp/wire"
)

var connect = &http.Request{Method: http.MethodConnect}

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

// sane is what holds for every decoder: a size within the bytes, an address that can be sent, and
// the same answer whatever follows.
func sane(t *testing.T, b []byte, parse func([]byte) (wire.Address, int, error)) {
	t.Helper()
	a, size, err := parse(b)
	switch {
	case size < 0 || size > len(b):
		t.Fatalf("size %d of %d bytes", size, len(b))
	case err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupported):
		t.Fatalf("an error of another kind: %v", err)
	case err != nil || size == 0:
		return
	case a.Validate() != nil:
		t.Fatalf("%v: %v", a, a.Validate())
	}
	again, same, err := parse(append(b[:size:size], 0))
	if again != a || same != size || err != nil {
		t.Fatalf("%v, %d, and with other bytes behind it %v, %d, %v", a, size, again, same, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb"))
	f.Add([]byte("\x05\x01\x00\x03\x0adb.EXAMPLE\x01\xbbmore"))
	f.Add([]byte("\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x01\xbb"))
	f.Add([]byte("\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x05\x02\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sane(t, b, ParseRequest)
		open, size, err := ParseGreeting(b)
		if size > len(b) || err != nil && !errors.Is(err, ErrMalformed) || open && size < 3 {
			t.Fatalf("a greeting: %v, %d, %v", open, size, err)
		}
	})
}

func FuzzConnect(f *testing.F) {
	f.Add([]byte("CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n\x16"))
	f.Add([]byte("CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n"))
	f.Add([]byte("GET http://db.example/ HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) { sane(t, b, ParseConnect) })
}

// FuzzHello has the same come of a message whether it is taken whole or byte by byte.
func FuzzHello(f *testing.F) {
	for _, extensions := range []string{
		"", "\x00\x00", "\x00\x04\x00\x0a\x00\x00",
		"\x00\x12\x00\x0a\x00\x00\x00\x00\x00\x0a\x00\x08\x00\x00\x05a.exa",
	} {
		body := "\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00" + extensions
		message := "\x01\x00\x00" + string(rune(len(body))) + body
		record := []byte("\x16\x03\x01\x00" + string(rune(len(message))) + message)
		f.Add(record)
		f.Add(inRecords(record, 10))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name, err := takeAll(b, 1<<20)
		slowly, slowErr := takeAll(b, 1)
		if name != slowly || (err == nil) != (slowErr == nil) {
			t.Fatalf("%q, %v; byte by byte %q, %v", name, err, slowly, slowErr)
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, errUnfinished) {
			t.Fatalf("an error of another kind: %v", err)
		}
		if a, err := Where(name, 1); name != "" && (err != nil || a.Name != name) {
			t.Fatalf("%q is no name: %v, %v", name, a, err)
		}
	})
}
