package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

func TestParseProxy(t *testing.T) {
	for text, want := range map[string]string{
		"http://proxy.example":         "http://proxy.example:80",
		"proxy.example:3128":           "http://proxy.example:3128",
		"HTTP://me:pass@[::1]:8080/":   "http://[::1]:8080",
		"socks5://me@10.0.0.1":         "socks5://10.0.0.1:1080",
		"socks5h://proxy.example:1081": "socks5://proxy.example:1081",
	} {
		p, err := ParseProxy(text)
		if err != nil || p.String() != want {
			t.Errorf("%s: %v, %v", text, p, err)
			continue
		}
		hasUser, hasPassword := strings.Contains(text, "@"), strings.Contains(text, "pass")
		if p.HasUser() != hasUser || p.HasPassword() != hasPassword {
			t.Errorf("%s: user %v, password %v", text, p.HasUser(), p.HasPassword())
		}
		if with := p.WithPassword("other"); !with.HasPassword() || with.password != "other" {
			t.Errorf("%s: %v", text, with)
		}
	}
	for text, says := range map[string]string{
		"https://proxy.example":     "http:// or socks5://",
		"ftp://proxy":               "http:// or socks5://",
		"http://":                   "host name or address is missing",
		"http://proxy:0":            "port 0",
		"http://proxy/path":         "no path",
		"http://me:sec ret@a b":     "that is no URL",
		"socks5://proxy:99999":      "a port is a number",
		"http://me:secret@h o:3128": "that is no URL",
	} {
		p, err := ParseProxy(text)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %v, %v, want %q", text, p, err, says)
		}
	}
}

// Which proxy leads where is as in other programs.
func TestProxies(t *testing.T) {
	named := func(text string) *Proxy {
		p, err := ParseProxy(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := Proxies{
		HTTPS: named("https-proxy"), HTTP: named("http-proxy"), All: named("all-proxy"),
		Except: "one.example, .two.example,*.three.example,10.0.0.0/8,192.0.2.1,[2001:db8::1]," +
			" x.example:444 y.example\tz.example",
	}
	for text, want := range map[string]string{
		"tls://host": "https-proxy", "wss://host": "https-proxy", "ws://host": "http-proxy",
		"host:1": "all-proxy", "11.0.0.1:1": "all-proxy", "unix:/s": "all-proxy",
		"one.example:1": "", "sub.one.example:1": "", "ONE.example:1": "",
		"notone.example:1": "all-proxy",
		"two.example:1":    "", "a.two.example:1": "", "a.three.example:1": "",
		"y.example:1": "", "a.z.example:1": "",
		"10.1.2.3:1": "", "wss://10.1.2.3/": "", "192.0.2.1:1": "", "192.0.2.2:1": "all-proxy",
		"[2001:db8::1]:1": "", "wss://x.example:444/": "", "wss://x.example/": "https-proxy",
		"localhost:1": "", "a.localhost:1": "", "127.0.0.9:1": "", "[::1]:1": "", "[fe80::1%eth0]:1": "",
	} {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if p := all.For(a); p != nil {
			got = p.at.Name
		}
		if got != want {
			t.Errorf("%s goes by %q, want %q", text, got, want)
		}
	}
	here, _ := Parse("127.0.0.1:1")
	all.HereToo = true
	if all.For(here) == nil {
		t.Error("a proxy that is asked for leads to this machine")
	}
	all.Except = "*"
	if there, _ := Parse("host:1"); all.For(there) != nil {
		t.Error("nothing is to go by a proxy")
	}
}

// said is what a proxy says: behind the bytes that it reads first, if it reads any.
type proxySaid struct{ reads, says string }

// fakeProxy says the same to everybody.
func fakeProxy(t *testing.T, all ...proxySaid) (at string) {
	t.Helper()
	return testkit.Serve(t, func(c net.Conn) {
		testkit.Hurry(t, c)
		for _, one := range all {
			got := make([]byte, len(one.reads))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != one.reads {
				t.Errorf("the proxy is told %q, %v, want %q", got, err, one.reads)
				return
			}
			_, _ = io.WriteString(c, one.says)
		}
		_, _ = io.Copy(io.Discard, c)
	})
}

// What a proxy is told, and what is made of its answer.
func TestProxyAnswers(t *testing.T) {
	const head = "CONNECT db.example:7000 HTTP/1.1\r\nHost: db.example:7000\r\nUser-Agent: sp\r\n"
	const basic = "Proxy-Authorization: Basic bWU6cHc=\r\n"
	const hello, proof = "\x05\x01\x00", "\x01\x02me\x02pw"
	const helloMe = "\x05\x02\x00\x02"
	const connect = "\x05\x01\x00\x03\x0adb.example\x1b\x58"
	for name, test := range map[string]struct {
		scheme string
		says   []proxySaid
		want   string // in the error; empty if there is none
	}{
		"CONNECT": {"http://", []proxySaid{{head + "\r\n", "HTTP/1.0 200 Connected\r\n\r\n"}}, ""},
		"CONNECT, with a password": {"http://me:pw@", []proxySaid{
			{head + basic + "\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"},
		}, ""},
		"refused": {"http://", []proxySaid{
			{head + "\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n"},
		}, "refuses to connect to db.example:7000: 403 Forbidden"},
		"wants a password": {"http://", []proxySaid{
			{head + "\r\n", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"},
		}, "wants a user and a password"},
		"another password": {"http://me:pw@", []proxySaid{
			{head + basic + "\r\n", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"},
		}, "does not take that user"},
		"Kerberos": {"http://", []proxySaid{
			{head + "\r\n", "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n"},
		}, "cntlm or px"},
		"no proxy": {"http://", []proxySaid{{head + "\r\n", "SSH-2.0-x\r\n"}}, "does not answer as"},
		"talkative": {
			"http://", []proxySaid{{head + "\r\n", "HTTP/1.1 200 OK\r\n\r\nx"}}, "before the other",
		},
		"endless": {"http://", []proxySaid{
			{head + "\r\n", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHead)},
		}, "too long"},
		"SOCKS": {"socks5://", []proxySaid{
			{hello, "\x05\x00"}, {connect, "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01"},
		}, ""},
		"SOCKS, with a password": {"socks5://me:pw@", []proxySaid{
			{helloMe, "\x05\x02"}, {proof, "\x01\x00"}, {connect, "\x05\x00\x00\x03\x01x\x00\x01"},
		}, ""},
		"SOCKS, which wants none": {"socks5://me:pw@", []proxySaid{
			{helloMe, "\x05\x00"}, {connect, "\x05\x00\x00\x04" + strings.Repeat("x", 18)},
		}, ""},
		"SOCKS, another password": {"socks5://me:pw@", []proxySaid{
			{helloMe, "\x05\x02"}, {proof, "\x01\x01"},
		}, "does not take that user"},
		"SOCKS, wants a password": {"socks5://", []proxySaid{{hello, "\x05\xff"}}, "wants a user"},
		"SOCKS, what was not offered": {
			"socks5://", []proxySaid{{hello, "\x05\x02"}}, "not offered",
		},
		"SOCKS, refused": {"socks5://", []proxySaid{
			{hello, "\x05\x00"}, {connect, "\x05\x05\x00\x01"},
		}, "connection refused"},
		"SOCKS, for a reason of its own": {"socks5://", []proxySaid{
			{hello, "\x05\x00"}, {connect, "\x05\x63\x00\x01"},
		}, "code 99"},
		"SOCKS, another address": {"socks5://", []proxySaid{
			{hello, "\x05\x00"}, {connect, "\x05\x00\x00\x09"},
		}, "does not speak SOCKS 5"},
		"SOCKS 4": {"socks5://", []proxySaid{{hello, "\x00\x5a"}}, "does not speak SOCKS 5"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParseProxy(test.scheme + fakeProxy(t, test.says...))
			if err != nil {
				t.Fatal(err)
			}
			s := NewSet(Config{Proxy: Proxies{All: p}.For})
			defer s.Close()
			a, _ := Parse("db.example:7000")
			l, err := s.Dial(testkit.Context(t), a)
			if test.want != "" {
				var failed *ProxyError
				if err == nil || !errors.As(err, &failed) || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("%v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := FromAddr(l.RemoteAddr()); !ok || at != a {
				t.Errorf("it leads to %v", at)
			}
			_ = l.Close()
		})
	}
}

// A proxy that says nothing is not waited for longer than anything else; and where a name leads is
// looked up here if somebody has to know.
func TestProxyLimits(t *testing.T) {
	p, err := ParseProxy(fakeProxy(t))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := Parse("db.example:7000")
	s := NewSet(Config{Proxy: Proxies{All: p}.For, ConnectTimeout: 50 * time.Millisecond})
	defer s.Close()
	if _, err := s.Dial(testkit.Context(t), a); err == nil {
		t.Error("it says nothing, and there is a link")
	}
	names := testkit.NewNames(t)
	names.Set("db.example", "10.0.0.7")
	asked := make(chan netip.Addr, 1)
	refuses := errors.New("not there")
	bridge := NewSet(Config{Proxy: Proxies{All: p}.For, Reach: func(_ Address, ip netip.Addr) error {
		asked <- ip
		return refuses
	}})
	defer bridge.Close()
	_, err = bridge.Dial(testkit.Context(t), a)
	if !errors.Is(err, refuses) || (<-asked).String() != "10.0.0.7" {
		t.Errorf("who may not go there is led there: %v", err)
	}
	ctx, cancel := context.WithCancel(testkit.Context(t))
	cancel()
	other := NewSet(Config{Proxy: Proxies{All: p}.For})
	defer other.Close()
	if _, err := other.Dial(ctx, a); err == nil {
		t.Error("nobody waits, and there is a link")
	}
}

// FuzzProxy has no answer of a proxy do harm.
func FuzzProxy(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), false)
	f.Add([]byte("\x05\x02\x01\x00\x05\x00\x00\x03\x01x\x00\x01"), true)
	f.Add([]byte("\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01"), true)
	f.Fuzz(func(t *testing.T, b []byte, socks bool) {
		p := &Proxy{scheme: "http", user: "me", password: "pw"}
		if socks {
			p.scheme = "socks5"
		}
		a := Address{Kind: 5, Name: "db.example", Port: 7000}
		_ = p.ask(&said{in: strings.NewReader(string(b))}, a)
	})
}

var _ net.Conn = (*said)(nil)
