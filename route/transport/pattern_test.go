package transport

import (
	"strings"
	"testing"
)

// matches checks which of some addresses a pattern matches.
func matches(t *testing.T, text, yes, no string) {
	t.Helper()
	p, err := ParsePattern(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for want, addresses := range map[bool]string{true: yes, false: no} {
		for _, address := range strings.Fields(addresses) {
			a, err := Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if p.Matches(a) != want {
				t.Errorf("%s matches %s: %v", text, address, !want)
			}
		}
	}
}

func TestPattern(t *testing.T) {
	for text, test := range map[string]struct{ yes, no string }{
		"relay.example.com:4000": {
			"relay.example.com:4000 RELAY.example.com:4000",
			"relay.example.com:4001 example.com:4000",
		},
		"Host:1-3":             {"host:1 host:3", "host:4 10.0.0.1:1 unix:host"},
		"10.0.0.1:80":          {"10.0.0.1:80 [::ffff:10.0.0.1]:80", "10.0.0.2:80 [::1]:80"},
		"10.0.0.9/8:80-81":     {"10.0.0.1:80 10.255.0.1:81", "11.0.0.1:80 ten:80 unix:/10.0.0.1"},
		"[2001:db8::/32]:443":  {"[2001:db8::1]:443", "[2001:db9::1]:443"},
		"[2001:db8::]/32:443":  {"[2001:db8::1]:443", "[2001:db9::1]:443"},
		"2001:db8::/32:443":    {"[2001:db8::1]:443", "[2001:db9::1]:443"},
		"[::1]:1-65535":        {"[::1]:1 [::1]:65535", "[::2]:1 localhost:1"},
		"[::ffff:10.0.0.1]:80": {"10.0.0.1:80", "10.0.0.2:80"},
	} {
		matches(t, text, test.yes, test.no)
	}
	for text, says := range map[string]string{
		"host":           "a port is missing",
		"host:":          "ports are a number",
		"host:0":         "ports are a number",
		"host:2-1":       "ports are a number",
		"host:1-65536":   "ports are a number",
		"host:x":         "ports are a number",
		"[::1:80":        "not closed",
		"10.0.0.1/33:80": "prefix",
		"a b:80":         "only letters",
		":80":            "host name",
		"http://host:80": "leave out http://",
	} {
		if p, err := ParsePattern(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, %v, want %q", text, p, err, says)
		}
	}
}
