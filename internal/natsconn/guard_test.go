package natsconn

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
)

func feedAll(text string, by int) error {
	var s scanner
	b := []byte(text)
	for len(b) > 0 {
		n := min(by, len(b))
		if err := s.feed(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func TestScanner(t *testing.T) {
	for text, good := range map[string]bool{
		"PING\r\nPONG\r\n+OK\r\n-ERR 'no'\r\n":                    true,
		"MSG a 1 5\r\nMSG x\r\nMSG a 1 r 0\r\n\r\n":               true,
		"HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nab\r\n":              true,
		"MSG subj 1 9000000000000000000\r\n":                      false,
		"MSG subj 1 8388609\r\n":                                  false,
		"msg subj 1 -1\r\n":                                       false,
		"MSG subj 1 +1\r\n":                                       false,
		"MSG 5\r\n":                                               false,
		"MSG a b c d 5\r\n":                                       false,
		"HMSG a 1 14 12\r\n":                                      false,
		"HMSG a 1 99999999999999999999 5\r\n":                     false,
		"PING" + strings.Repeat(" ", maxLine):                     false,
		"INFO {" + strings.Repeat(" ", maxLine) + "}\r\nPING\r\n": true,
		"INFO {" + strings.Repeat(" ", maxInfo):                   false,
		"MSG a 1 3\r\nabc\r\nMSG a 1 99999999\r\n":                false,
		"\r\n": false,
		// Whatever the library reads in another way.
		"MSG s 1 5\r\nhello\nMSG s 1 4611686018427387904\r\n": false,
		"MSG s 1 5\r\nhelloab":                                false,
		"MSG s 1 5\r\nhello\rMSG s 1 4611686018427387904\r\n": false,
		"MSG s\r 1 4611686018427387904 5\n":                   false,
		"MSG s 1 46116860184\r27387904 5\r\n":                 false,
		"MSG s 1 5\r\r\n":                                     false,
		"MSG s 1 5\nhello\r\n":                                false,
		"MSG \ns 1 4611686018427387904\r\n":                   false,
		"MSG0 0 10000000\r\n":                                 false,
		"INFOS {}\r\n":                                        false,
		"PINGS\r\n":                                           false,
		" MSG s 1 5\r\n":                                      false,
		"MSG s 1 4611686018427387904\v5\r\n":                  false,
		"-ERR 'a\rb'\r\n":                                     false,
		"-ERR 'no'\nMSG s 1 4611686018427387904\r\n":          false,

		"MSG s\t1 \t5\r\nhello\r\nHMSG s 1 12 12\r\nNATS/1.0\r\n\r\n\r\n": true,
	} {
		for _, by := range []int{1, 3, 1 << 20} {
			if err := feedAll(text, by); (err == nil) != good {
				t.Errorf("%.40q in parts of %d: %v", text, by, err)
			}
		}
	}
}

// heardOf returns the largest size of a message that the library reads in what it hears, by a model
// of how it does: lines end at \n, and what is behind a payload is passed over until there. A \r in
// the words of a line is left out, and, if the line came in one piece, its last byte with it.
func heardOf(text string, inOne bool) (largest uint64) {
	for text != "" {
		line, rest, ended := strings.Cut(text, "\n")
		if !ended {
			return largest
		}
		text = rest
		verb := strings.ToUpper(line[:min(4, len(line))])
		if verb != "HMSG" {
			verb = verb[:min(3, len(verb))]
		}
		if verb != "HMSG" && verb != "MSG" {
			continue
		}
		if inOne && strings.Contains(line, "\r") {
			line = line[:len(line)-1]
		}
		line = strings.ReplaceAll(line[len(verb):], "\r", map[bool]string{true: " "}[inOne])
		words := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
		if len(words) < 3 {
			return largest
		}
		size, err := strconv.ParseUint(words[len(words)-1], 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return largest
		}
		if largest = max(largest, size); size > uint64(len(text)) {
			return largest
		}
		if _, text, ended = strings.Cut(text[size:], "\n"); !ended {
			return largest
		}
	}
	return largest
}

// What passes has no size that is too large, however it was cut and whoever reads it.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("MSG a 1 5\r\nMSG x\r\nPING\r\n"), 3)
	f.Add([]byte("HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nab\r\n"), 7)
	f.Add([]byte("MSG s 1 5\r\nhello\nMSG s 1 4611686018427387904\r\n"), 1)
	f.Add([]byte("MSG s 1 2\r\nabc\r\nMSG s 1 9\r\nMSG s 1 9999999999\r\n"), 1)
	f.Add([]byte("MSG s\r 1 4611686018427387904 5\n"), 1)
	f.Add([]byte("MSG0 0 10000000\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, by int) {
		by = max(by&0xff, 1)
		cut, whole := feedAll(string(b), by), feedAll(string(b), len(b)+1)
		if (cut == nil) != (whole == nil) {
			t.Errorf("%v in parts, %v at once", cut, whole)
		}
		var s scanner
		passed := 0
		for passed < len(b) && s.feed(b[passed:passed+1]) == nil {
			passed++
		}
		for _, inOne := range []bool{false, true} {
			if n := heardOf(string(b[:passed]), inOne); n > maxPayload {
				t.Errorf("a message of %d bytes passes in %q", n, b[:passed])
			}
		}
	})
}

func TestParseInfo(t *testing.T) {
	i, plain, err := parseInfo([]byte(
		`INFO {"tls_required":true,"max_payload":99,"nonce":"n","connect_urls":["evil:4222"]}` + "\r\n"))
	if err != nil || !i.TLSRequired {
		t.Fatal(i, err)
	}
	if bytes.Contains(plain, []byte("evil")) || bytes.Contains(plain, []byte("tls_")) ||
		!bytes.Contains(plain, []byte(`"nonce":"n"`)) {
		t.Errorf("the library is to hear %s", plain)
	}
	for _, bad := range []string{
		"INFO", "INFO 5\r\n", "INFO {\r\n", "HTTP/1.1 200 OK\r\n", "INFO {}x\r\n",
	} {
		if _, _, err := parseInfo([]byte(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(`INFO {"tls_required":true}` + "\r\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		_, plain, err := parseInfo(line)
		if err == nil && !bytes.HasPrefix(plain, []byte("INFO {")) {
			t.Errorf("%q", plain)
		}
	})
}
