package test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// What single stories of pages need beside what stands there.

// checkout has the client's home be a repository with a commit, for the README's service.
func (s *stage) checkout() {
	s.t.Helper()
	for _, command := range []string{
		"git init -q", "git -c user.name=me -c user.email=me@example.com commit -q --allow-empty -m x",
	} {
		must(s.t, s.program(s.at(""), command))
	}
}

// certificates gives the relay those that ACME would have given it.
func (s *stage) certificates() {
	s.t.Helper()
	m := s.at("relay")
	show, _ := m.certified()
	for from, to := range map[string]string{show[1]: "cert.pem", show[3]: "key.pem"} {
		if err := os.Rename(from, filepath.Join(m.home, to)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// denyFile has the list be there that may be empty.
func (s *stage) denyFile() { s.at("db").file("denied", "") }

// aliceIsOut waits until the outlet refuses somebody whose credential has been revoked.
func (s *stage) aliceIsOut() {
	s.t.Helper()
	for _, p := range s.at("db").running {
		p.says(s.by["alice"] + " is not trusted: credential 1: revoked")
	}
}

// serveAt has a service be at a place that a page names.
func (s *stage) serveAt(place string) {
	s.t.Helper()
	s.serve(strings.TrimSpace(s.here(s.at("client"), " "+place)))
}

// longForm has the route that docs/topologies.md writes out be what sp route makes of the short
// one.
func (s *stage) longForm() {
	s.t.Helper()
	want := ""
	for _, b := range readBlocks(s.t, "../docs/topologies.md") {
		if strings.HasPrefix(b.lines[0], "/dnsaddr/bridge.example.com/") {
			want = b.lines[0]
		}
	}
	short := "bridge.example.com:8000/inside.example.com:7000"
	if got := s.at("client").must("route", short); !strings.Contains(got+"\n", want+"\n") {
		s.t.Errorf("sp route %s prints\n%s\nand the page has\n%s", short, got, want)
	}
}

// folder is what a page copies.
func (s *stage) folder() {
	s.t.Helper()
	if err := os.Mkdir(filepath.Join(s.at("server").home, "folder"), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

// isCopied has that folder be on the client.
func (s *stage) isCopied() {
	s.t.Helper()
	if _, err := os.Stat(filepath.Join(s.at("client").home, "folder")); err != nil {
		s.t.Error(err)
	}
}

// pythonServes has what a page starts behind a relay be reached there.
func (s *stage) pythonServes() {
	s.t.Helper()
	must(s.t, s.program(s.at("client"), s.here(s.at("client"),
		"sp wait --timeout 60s web@relay.example.com:4000")))
}

// theWeb has a relay's certificate, a proxy, and a web server in front of the relay.
func (s *stage) theWeb() {
	s.t.Helper()
	s.certificates()
	s.at("server").file("password", "secret\n")
	where := func(place string) string { return strings.TrimSpace(s.here(s.at("relay"), " "+place)) }
	s.proxyAt(where("proxy.example.com:3128"))
	inner, err := url.Parse("http://" + where("127.0.0.1:4080"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.webServer = func() { s.webServerAt(where("127.0.0.1:443"), inner) }
}

// webServerAt stands for nginx in front of a relay.
func (s *stage) webServerAt(where string, inner *url.URL) {
	s.t.Helper()
	l, err := tls.Listen("tcp", where, &tls.Config{Certificates: []tls.Certificate{s.tls}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.serveHTTP(l, httputil.NewSingleHostReverseProxy(inner))
}

func (s *stage) serveHTTP(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	s.t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
}

// proxyAt is an HTTP proxy, of which CONNECT with the right password is asked.
func (s *stage) proxyAt(where string) {
	s.t.Helper()
	l, err := net.Listen("tcp", where)
	if err != nil {
		s.t.Fatal(err)
	}
	s.serveHTTP(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if user, password, _ := given.BasicAuth(); r.Method != http.MethodConnect ||
			user != "me" || password != "secret" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = far.Close()
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(far, near)
			_ = far.Close()
		}()
		_, _ = io.Copy(near, far)
		_ = near.Close()
	}))
}

// talking has a client's connection be open, which a page shows.
func (s *stage) talking() {
	s.t.Helper()
	m := s.at("client")
	p := s.begin(m, "", "exec "+s.here(m, "sp inlet --listen :6000 --to db@relay.example.com:4000"))
	s.opened = func() {
		c := dial(s.t, p.ready())
		if _, err := io.WriteString(c, "hello\n"); err != nil {
			s.t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// portalFile writes the file that docs/config.md explains, and has the other end of its inlet.
func (s *stage) portalFile() {
	s.t.Helper()
	m := s.at("client")
	text := ""
	for _, b := range readBlocks(s.t, "../docs/config.md") {
		if strings.HasPrefix(b.lines[0], "identity = ") {
			text = strings.Join(b.lines, "\n") + "\n"
		}
	}
	text = s.here(m, text)
	m.file("sp.toml", text)
	m.file("friends", "")
	cache := s.at("cache")
	for _, of := range []*machine{m, cache} {
		s.key(of, filepath.Join(of.home, "identity"), "config")
	}
	command := s.here(cache, "sp outlet --identity identity --relay relay.example.com:4000 "+
		"--name cache --target 127.0.0.1:9000")
	s.targets(cache, command)
	s.begin(cache, "", "exec "+command)
	if s.block.section != "Changes" {
		return
	}
	s.begin(m, "", "exec sp up --config sp.toml")
	s.opened = func() {
		p := m.running[0]
		ready := func(all string) bool { return strings.Count(all, "\n") == 2 } // both portals
		if err := p.await(&p.stdout, ready); err != nil {
			s.t.Fatal(err)
		}
		changed := strings.Replace(text, "[inlet.cache]\n", "[inlet.cache]\ndrain = \"5s\"\n", 1)
		m.file("sp.toml", changed+s.here(m, "[outlet.web]\ntarget = \"127.0.0.1:8080\"\n"+
			"relay = \"relay.example.com:4000\"\nallow-file = [\"friends\"]\n"))
		s.instead = append(s.instead, "4711", fmt.Sprint(p.cmd.Process.Pid))
	}
}

// fleet gives the boss of docs/trust.md what each machine has sent: who it is.
func (s *stage) fleet() {
	s.t.Helper()
	boss := s.at("boss")
	for _, name := range strings.Fields("alice bob carol dave eve db web mail") {
		boss.file(name+".id", s.identifier(name)+"\n")
	}
	for _, name := range []string{"north", "south"} {
		boss.file(name+".id", s.by[name]+"\n")
	}
	s.at("server").file("friends.txt", "")
}
