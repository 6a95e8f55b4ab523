package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func example() Message {
	return Message{
		Flags: Lazy,
		Onward: Route{
			{Kind: IP4, IP: netip.MustParseAddr("10.0.0.2"), Port: 8000},
			{Kind: IP6, IP: netip.MustParseAddr("2001:db8::1"), Port: 1},
			{Kind: DNS, Name: "relay.example.com", Port: 65535},
			{Kind: Service, Name: "forward_to_db"},
			{Kind: Secure, Name: "api"},
		},
		Return:  Route{{Kind: Label, Name: "12345678"}},
		Payload: []byte("payload"),
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, want := range []Message{{}, {Payload: []byte{0}}, example()} {
		b, err := AppendMessage(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.Payload) == 0 {
			got.Payload, want.Payload = nil, nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestMessageBytes(t *testing.T) {
	b, err := AppendMessage(nil, Message{
		Onward: Route{
			{Kind: Service, Name: "db"},
			{Kind: IP4, IP: netip.MustParseAddr("127.0.0.1"), Port: 7000},
		},
		Payload: []byte("x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "01" + "00" + "000f" + "02" + "01026462" + "03067f0000011b58" + "00" + "78"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMessageTruncatedAnywhereIsRefused(t *testing.T) {
	b, err := AppendMessage(nil, example())
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(b) {
		if _, err := ParseMessage(b[:i]); err == nil {
			t.Errorf("the first %d bytes of %d were taken for a message", i, len(b))
		}
	}
}

func TestMessageLimits(t *testing.T) {
	long := make(Route, MaxRoute+1)
	for i := range long {
		long[i] = Address{Kind: Service, Name: "hop"}
	}
	service := Route{{Kind: Service, Name: "a"}}
	for name, test := range map[string]struct {
		message Message
		want    error
	}{
		"route": {Message{Onward: long}, ErrTooLong},
		"both routes": {
			Message{Onward: long[:MaxRoute], Return: Route{{Kind: Label, Name: "12345678"}}},
			ErrTooLong,
		},
		"payload":      {Message{Payload: make([]byte, MaxMessage)}, ErrTooLong},
		"flags":        {Message{Flags: 128}, ErrMalformed},
		"label onward": {Message{Onward: Route{{Kind: Label, Name: "12345678"}}}, ErrMalformed},
		"return":       {Message{Return: service}, ErrMalformed},
		"no name":      {Message{Onward: Route{{Kind: Service}}}, ErrMalformed},
		"long name": {
			Message{Onward: Route{{Kind: Service, Name: strings.Repeat("a", MaxName+1)}}},
			ErrMalformed,
		},
		"odd name": {Message{Onward: Route{{Kind: Service, Name: "a/b"}}}, ErrMalformed},
		"port":     {Message{Onward: Route{{Kind: DNS, Name: "a"}}}, ErrMalformed},
		"local": {
			Message{Onward: Route{{Kind: Local, Name: "fifo:/x"}}}, ErrMalformed,
		},
		"mapped": {
			Message{Onward: Route{{Kind: IP6, IP: netip.MustParseAddr("::ffff:1.2.3.4"), Port: 1}}},
			ErrMalformed,
		},
		"kind": {Message{Onward: Route{{Kind: 99}}}, ErrMalformed},
	} {
		if b, err := AppendMessage(nil, test.message); !errors.Is(err, test.want) || b != nil {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestMessageSizeLooksAtTheLimitFirst(t *testing.T) {
	if _, err := MessageSize([]byte{Version, 0, 0xff, 0xff}); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
	if _, err := MessageSize([]byte("GET / HTTP/1.1")); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v", err)
	}
	if size, err := MessageSize([]byte{Version, 0, 0}); size != 0 || err != nil {
		t.Errorf("got %d, %v", size, err)
	}
}

func TestStatus(t *testing.T) {
	b := AppendStatus(nil, Status{Code: NoService, Hop: 2, Reason: "no outlet named \x1b[31mdb\n"})
	for i := range len(b) {
		if _, size, err := ParseStatus(b[:i]); size != 0 || err != nil {
			t.Fatalf("%d bytes: size %d, %v", i, size, err)
		}
	}
	s, size, err := ParseStatus(append(b, "more"...))
	want := Status{Code: NoService, Hop: 2, Reason: "no outlet named ?[31mdb?"}
	if err != nil || size != len(b) || s != want {
		t.Errorf("got %+v, size %d, %v", s, size, err)
	}
	b = AppendStatus(nil, Status{Reason: strings.Repeat("a", 1000)})
	if len(b) != statusSize+MaxReason {
		t.Errorf("a long reason took %d bytes", len(b))
	}
	for _, bad := range [][]byte{{200}, {0, 200, 0}, {0, 0, 255}, {0, 0, 1, 7}} {
		if _, _, err := ParseStatus(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, m := range []Message{{}, example()} {
		b, _ := AppendMessage(nil, m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		again, err := AppendMessage(nil, m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("decoded %x, encoded %x, %v", b, again, err)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add(AppendStatus(nil, Status{}))
	f.Add(AppendStatus(nil, Status{Code: Refused, Hop: 3, Reason: "no"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, size, err := ParseStatus(b)
		if err != nil || size == 0 {
			return
		}
		if again := AppendStatus(nil, s); !bytes.Equal(again, b[:size]) {
			t.Errorf("decoded %x, encoded %x", b[:size], again)
		}
	})
}
