package brokers

import (
	"errors"
	"strings"
	"testing"
)

func none(string) ([]byte, error) { return nil, errors.New("no such file") }

func TestParse(t *testing.T) {
	l, err := Parse(`
# what is where
nats.example.com       user      sp
nats.example.com       password  two words
NATS.example.com:4333  token     T
[::1]:9092             sasl      PLAIN
`, none)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.For("Nats.Example.com", 4222); got.User != "sp" || got.Password != "two words" {
		t.Errorf("of the host: %+v", got)
	}
	if got := l.For("nats.example.com", 4333); got.Token != "T" || got.User != "" {
		t.Errorf("of the port: %+v", got)
	}
	if got := l.For("::1", 9092); got.Mechanism != "plain" {
		t.Errorf("of an IP address: %+v", got)
	}
	for _, other := range []string{"example.com", "x.nats.example.com", "nats.example.com.evil", ""} {
		if got := l.For(other, 4222); got.hasSecret() || got.User != "" {
			t.Errorf("%s is shown what is another broker's", other)
		}
	}
	var nobody *Logins
	if nobody.For("a", 1).hasSecret() {
		t.Error("nothing has a secret")
	}
}

// All hosts below a domain may have the same lines.
func TestDomains(t *testing.T) {
	l, err := Parse(`
*.example.com        token  all
*.example.com:4333   token  port
*.eu.Example.com     token  nearer
one.eu.example.com   token  own
1.2.3.4              token  address
*.3.4                token  never
`, none)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		host string
		port uint16
		want string
	}{
		{"n1.example.com", 4222, "all"},
		{"N1.EXAMPLE.COM", 4333, "port"},
		{"a.b.example.com", 4222, "all"},
		{"a.b.example.com", 4333, "port"},
		{"a.eu.example.com", 4222, "nearer"},
		{"one.eu.example.com", 4222, "own"},
		{"a.one.eu.example.com", 4222, "nearer"},
		{"example.com", 4222, ""},
		{"evilexample.com", 4222, ""},
		{"n1.example.com.evil", 4222, ""},
		{"1.2.3.4", 1, "address"},
		{"9.9.3.4", 1, ""},
		{"", 1, ""},
	} {
		if got := l.For(one.host, one.port); got.Token != one.want {
			t.Errorf("%s:%d: %q, want %q", one.host, one.port, got.Token, one.want)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"a":                                   "line 1: a line is HOST[:PORT] WHAT VALUE",
		"\na user":                            "line 2: a line is",
		"a pass secret":                       "none of user, password",
		"a user u":                            "a: user and password go together",
		"a token t\na user u\na password p":   "one is enough",
		"a ca f":                              "no such file",
		"a cert f":                            "no such file",
		"a sasl md5":                          "plain, scram-sha-256",
		"a tls maybe":                         "yes, first or no",
		"a tls no\na tls yes":                 "neither yes, first",
		"a tls yes\na tls no":                 "neither yes, first",
		"nats://a user u":                     "without a scheme",
		"a:0 user u":                          "a port is a number",
		"* user u":                            "no other *",
		"*. user u":                           "no other *",
		"*:4222 user u":                       "no other *",
		"a.*.b user u":                        "no other *",
		"*a user u":                           "no other *",
		":1 user u":                           "*.DOMAIN",
		strings.Repeat("#", MaxFile+1):        "more than",
		"a password " + "hunter2" + "\na tls": "line 2",
	} {
		_, err := Parse(text, none)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, and not %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is in %q", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a user u\na password p\n")
	f.Add("[::1]:1 tls first")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text, none)
		if (l == nil) != (err != nil) {
			t.Error("neither nor")
		}
	})
}
