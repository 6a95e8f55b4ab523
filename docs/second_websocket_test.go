package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// The addresses over TLS and WebSocket are as the document has them.
func TestURLAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"tls://a.example":                    "0809" + "01bb" + hex.EncodeToString([]byte("a.example")),
		"ws://10.0.0.1:81/sp":                "090d" + "0051" + hex.EncodeToString([]byte("10.0.0.1/sp")),
		"wss://[2001:db8::1]:1":              "0a0e0001" + hex.EncodeToString([]byte("2001:db8::1/")),
		"quic://10.0.0.1:4433":               "0b0a" + "1151" + hex.EncodeToString([]byte("10.0.0.1")),
		"ble://00:1a:7d:da:71:13:128":        "0e09" + "0080" + "00" + "001a7dda7113",
		"ble://C0:1A:7D:DA:71:13:255/random": "0e09" + "00ff" + "01" + "c01a7dda7113",
		"quic://a.example:443":               "0b0b" + "01bb" + hex.EncodeToString([]byte("a.example")),
		"nats://a.example/q.1":               "0c00107e" + hex.EncodeToString([]byte("a.example/q.1")),
		"kafka://[::1]:9/t":                  "0d00" + "0009" + hex.EncodeToString([]byte("::1/t")),
	} {
		a, err := transport.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.AppendAddress(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := hex.DecodeString(want)
		b[1] = byte(len(b) - 2)
		if !bytes.Equal(got, b) {
			t.Errorf("%s is %x, want %x", text, got, b)
		}
	}
	for _, bad := range []string{
		"0802" + "01bb", // no host
		"0807" + "01bb" + hex.EncodeToString([]byte("a b.c")), // no name
		"0803" + "0000" + "61",                                // port 0
		"0803" + "0001" + "2f",                                // a path
		"0903" + "0001" + "61",                                // no path
		"0903" + "0001" + "2f",                                // no host
		"0906" + "0001" + "612f3f78",                          // a query
		"0a05" + "0001" + "612f20",                            // a space
		"0b04" + "0001" + "612f",                              // a path
		"0b03" + "0000" + "61",                                // port 0
		"0c03" + "0001" + "61",                                // no subject
		"0c04" + "0001" + "612f",                              // an empty one
		"0c06" + "0001" + "612f2e62",                          // a dot in front
		"0c08" + "0001" + "612f622e2e63",                      // two of them
		"0c05" + "0001" + "612f2a",                            // all subjects
		"0d05" + "0000" + "612f62",                            // port 0
		"0e09" + "0000" + "00" + "001a7dda7113",               // PSM 0
		"0e09" + "0100" + "00" + "001a7dda7113",               // PSM 256
		"0e09" + "0080" + "02" + "001a7dda7113",               // no such type
		"0e08" + "0080" + "00" + "001a7dda71",                 // a byte short
	} {
		b, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		if a, _, err := wire.ParseAddress(b); err == nil {
			t.Errorf("%s is read as %v", bad, a)
		}
	}
}

// TestWebSocketLink asks a node whether it is there, over a WebSocket that is made here, byte for
// byte, from the document and RFC 6455.
func TestWebSocketLink(t *testing.T) {
	id := testkit.NewIdentity(t)
	n, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: id, Trust: testkit.Trusting(t, id)},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := transport.ParseListen("ws://127.0.0.1:0/way/in", "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := n.Listen(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { n.Serve(context.Background(), l) })
	defer serving.Wait()
	defer n.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testkit.Hurry(t, c)
	testkit.Write(t, c, "GET /way/in HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sp.1\r\n\r\n")
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Protocol") != "sp.1" ||
		r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // the RFC's own
		t.Fatalf("%s, %v", r.Status, r.Header)
	}
	// message: version, no flags, length; no onward route; a label; then the end of the direction
	message := "\x01\x00\x00\x0c" + "\x00" + "\x01\x06\x0812345678"
	// a frame of yamux: version, data, SYN and FIN, stream 1, length
	data := "\x00\x00" + "\x00\x05" + "\x00\x00\x00\x01" + "\x00\x00\x00\x10" + message
	cut := len(data) / 2 // where messages end means nothing
	for _, part := range []string{data[:cut], data[cut:]} {
		testkit.Write(t, c, string([]byte{0x82, byte(0x80 | len(part))})+masked(part))
	}
	got := carriedByWebSocket(t, in, 3)
	if want := []byte{0, 1, 0}; !bytes.Equal(got, want) { // OK, hop 1, no reason
		t.Errorf("the status is %x, want %x", got, want)
	}
}

// carriedByWebSocket reads a server's messages until the frames of yamux in them have carried so
// many bytes of data.
func carriedByWebSocket(t *testing.T, in *bufio.Reader, size int) (got []byte) {
	t.Helper()
	for len(got) < size {
		head := make([]byte, 2)
		if _, err := io.ReadFull(in, head); err != nil {
			t.Fatal(err)
		}
		if head[0] != 0x82 || head[1] > 125 {
			t.Fatalf("a frame begins with %x", head)
		}
		b := make([]byte, head[1])
		if _, err := io.ReadFull(in, b); err != nil {
			t.Fatal(err)
		}
		for len(b) >= 12 { // frames of yamux
			size := 0
			if b[1] == 0 {
				size = int(binary.BigEndian.Uint32(b[8:]))
			}
			got = append(got, b[12:12+size]...)
			b = b[12+size:]
		}
	}
	return got
}

// masked is the payload of a client's frame, behind its key.
func masked(payload string) string {
	key := []byte{1, 2, 3, 4}
	b := []byte(payload)
	for i := range b {
		b[i] ^= key[i%4]
	}
	return string(key) + string(b)
}
