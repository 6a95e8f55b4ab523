package ask

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/secureportal/sp/wire"
)

func TestRecognize(t *testing.T) {
	for first, want := range map[byte]Protocol{
		5: SOCKS5, 4: SOCKS4, 'C': HTTP, 'G': HTTP, 'c': Unknown, 22: Unknown, 0: Unknown,
	} {
		if got := Recognize(first); got != want {
			t.Errorf("%q: got %d, want %d", first, got, want)
		}
	}
}

// text is an address as a test writes it.
func text(a wire.Address) string {
	if a.Kind == wire.DNS {
		return a.Name
	}
	return a.IP.String()
}

var zeros = strings.Repeat("\x00", 11)

// TestRequest has each prefix of a request be unfinished, and what follows be left alone.
func TestRequest(t *testing.T) {
	for want, request := range map[string]string{
		"192.0.2.1":        "\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb",
		"2001:db8::1":      "\x05\x01\x00\x04\x20\x01\x0d\xb8" + zeros + "\x01\x01\xbb",
		"db.example":       "\x05\x01\x00\x03\x0adb.EXAMPLE\x01\xbb",
		"complete.example": "\x05\x01\x00\x03\x11complete.example.\x01\xbb",
		"127.0.0.1":        "\x05\x01\x00\x03\x09127.0.0.1\x01\xbb", // an address, however it is written
		"::1":              "\x05\x01\x00\x03\x03::1\x01\xbb",
		"192.0.2.9":        "\x05\x01\x00\x03\x10::ffff:192.0.2.9\x01\xbb",
	} {
		for n := range len(request) {
			if _, size, err := ParseRequest([]byte(request[:n])); size != 0 || err != nil {
				t.Errorf("%s, %d bytes: got %d, %v", want, n, size, err)
			}
		}
		a, size, err := ParseRequest([]byte(request + "more"))
		if err != nil || size != len(request) || text(a) != want || a.Port != 443 {
			t.Errorf("%s: got %v, %d, %v", want, a, size, err)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	for request, want := range map[string]Reply{
		"\x05\x02\x00\x01\xc0\x00\x02\x01\x01\xbb":                     CommandUnsupported, // BIND
		"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00":                     CommandUnsupported, // UDP
		"\x05\x01\x00\x02\x00":                                         AddressUnsupported,
		"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x00":                     Failed, // port 0
		"\x05\x01\x00\x03\x00\x01\xbb":                                 Failed, // no name
		"\x05\x01\x00\x03\x03a b\x01\xbb":                              Failed,
		"\x05\x01\x00\x03\x0cfe80::1%eth0\x01\xbb":                     Failed, // a zone
		"\x05\x01\x00\x03\xfe" + strings.Repeat("a", 254) + "\x01\xbb": Failed,
	} {
		_, _, err := ParseRequest([]byte(request))
		var refused *RequestError
		if !errors.As(err, &refused) || refused.Reply != want {
			t.Errorf("%q: got %v, want reply %d", request, err, want)
		}
	}
	if _, _, err := ParseRequest([]byte("\x04")); !errors.Is(err, ErrMalformed) {
		t.Errorf("another version: %v", err)
	}
}

func TestGreeting(t *testing.T) {
	for greeting, want := range map[string]struct {
		open bool
		size int
	}{
		"": {}, "\x05": {}, "\x05\x02\x00": {},
		"\x05\x00": {false, 2}, "\x05\x01\x02": {false, 3}, "\x05\x02\x02\x00more": {true, 4},
	} {
		open, size, err := ParseGreeting([]byte(greeting))
		if open != want.open || size != want.size || err != nil {
			t.Errorf("%q: got %v, %d, %v", greeting, open, size, err)
		}
	}
	if _, _, err := ParseGreeting([]byte("\x04\x01")); !errors.Is(err, ErrMalformed) {
		t.Errorf("another version: %v", err)
	}
}

func TestConnect(t *testing.T) {
	for want, target := range map[string]string{
		"db.example": "DB.example:443", "::1": "[::1]:443", "10.0.0.1": "10.0.0.1:443",
	} {
		head := "CONNECT " + target + " HTTP/1.1\r\nHost: elsewhere\r\nProxy-Authorization: x\r\n\r\n"
		for n := range len(head) {
			if _, size, err := ParseConnect([]byte(head[:n])); size != 0 || err != nil {
				t.Errorf("%s, %d bytes: got %d, %v", want, n, size, err)
			}
		}
		a, size, err := ParseConnect([]byte(head + "\x16\x03\x01"))
		if err != nil || size != len(head) || text(a) != want || a.Port != 443 {
			t.Errorf("%s: got %v, %d, %v", want, a, size, err)
		}
	}
	for head, want := range map[string]int{
		"GET http://a/ HTTP/1.1\r\n\r\n":          http.StatusMethodNotAllowed,
		"CONNECT a:1 HTTP/2\r\n\r\n":              http.StatusBadRequest,
		"CONNECT a:1\r\n\r\n":                     http.StatusBadRequest,
		"CONNECT a HTTP/1.1\r\n\r\n":              http.StatusBadRequest,
		"CONNECT a:99999 HTTP/1.1\r\n\r\n":        http.StatusBadRequest,
		"CONNECT a:0 HTTP/1.1\r\n\r\n":            http.StatusBadRequest,
		"CONNECT a:+1 HTTP/1.1\r\n\r\n":           http.StatusBadRequest,
		"CONNECT a\x00b:1 HTTP/1.1\r\n\r\n":       http.StatusBadRequest,
		"CONNECT " + strings.Repeat("a", MaxHead): http.StatusRequestHeaderFieldsTooLarge,
		"NONSENSE\r\n\r\n":                        http.StatusBadRequest,
	} {
		_, _, err := ParseConnect([]byte(head))
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Status != want {
			t.Errorf("%.40q: got %v, want status %d", head, err, want)
		}
	}
}

// TestAnswersAreHTTP has the standard library read the answers.
func TestAnswersAreHTTP(t *testing.T) {
	resp, err := http.ReadResponse(newReader(string(AppendEstablished(nil))+"data"), connect)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v", resp, err)
	}
	resp, err = http.ReadResponse(newReader(string(AppendStatus(nil, 405, "no"))), nil)
	if err != nil || resp.StatusCode != 405 || resp.Header.Get("Allow") != "CONNECT" {
		t.Fatalf("got %v, %v", resp, err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "sp: no\n" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
}

// helloOf is the first message that this machine's TLS sends for a server name.
func helloOf(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		config := &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}
		_ = tls.Client(client, config).HandshakeContext(context.Background())
		_ = client.Close()
	}()
	header := make([]byte, recordHeader)
	if _, err := io.ReadFull(server, header); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	<-ended
	return append(header, body...)
}

// inRecords cuts the message in a record into records of so many bytes.
func inRecords(record []byte, size int) (all []byte) {
	for body := record[recordHeader:]; len(body) > 0; {
		n := min(size, len(body))
		all = append(all, record[0], record[1], record[2], byte(n>>8), byte(n))
		all, body = append(all, body[:n]...), body[n:]
	}
	return all
}

// TestServerName reads a name however the message comes: in records and pieces of any size.
func TestServerName(t *testing.T) {
	for _, want := range []string{"a.example.com", "Mixed.Example.COM", ""} {
		record := helloOf(t, want)
		for _, size := range []int{1, 2, 7, 100, len(record)} {
			for _, piece := range []int{1, 3, 1000, 1 << 20} {
				got, err := takeAll(inRecords(record, size), piece)
				if err != nil || got != strings.ToLower(want) {
					t.Errorf("%q in records of %d, pieces of %d: got %q, %v", want, size, piece, got, err)
				}
			}
		}
	}
}

var errUnfinished = errors.New("unfinished")

// takeAll reads the server name from bytes that come in pieces, followed by more.
func takeAll(b []byte, piece int) (string, error) {
	var h Hello
	for b = append(b, "what follows"...); len(b) > 0; {
		n := min(piece, len(b))
		whole, err := h.Take(b[:n])
		if err != nil {
			return "", err
		}
		if whole {
			return h.ServerName()
		}
		b = b[n:]
	}
	return "", errUnfinished
}

func TestNoHello(t *testing.T) {
	record := helloOf(t, "a.example")
	address := bytes.Replace(record, []byte("a.example"), []byte("127.0.0.1"), 1)
	if got, err := takeAll(address, 1<<20); got != "" || err != nil {
		t.Errorf("an address: got %q, %v", got, err)
	}
	other := bytes.Clone(record)
	other[recordHeader] = 2 // a server's
	long := bytes.Clone(record)
	long[recordHeader+1] = 1 // 64 kB more
	name := bytes.Clone(record)
	at := bytes.Index(name, []byte("a.example"))
	name[at] = 0
	for what, b := range map[string][]byte{
		"HTTP": []byte("GET / HTTP/1.1\r\n\r\n"), "SSH": []byte("SSH-2.0-x\r\n"), "a server's": other,
		"too long": long, "an empty record": {22, 3, 1, 0, 0}, "a name with a zero": name,
		"a record that is too long": {22, 3, 1, 0xff, 0xff},
	} {
		if got, err := takeAll(b, 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %q, %v", what, got, err)
		}
	}
	// As many records as it takes for a message of a few bytes to be too long.
	b := []byte{22, 3, 1, 0, 4, 1, 0, 0x3f, 0xf0}
	b = append(b, bytes.Repeat([]byte{22, 3, 1, 0, 1, 0}, MaxHello)...)
	if got, err := takeAll(b, 1000); !errors.Is(err, ErrMalformed) {
		t.Errorf("many records: got %q, %v", got, err)
	}
}
