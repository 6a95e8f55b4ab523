//go:build unix

package test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// TestTargetsByName has an outlet with several targets, each of which those reach by its name who
// may: by a relay, and where it listens.
func TestTargetsByName(t *testing.T) {
	t.Parallel()
	server, dba, guest, boss := newPerson(t), newPerson(t), newPerson(t), newPerson(t)
	_, relay := server.startRelay(server.ownKey()...)
	presents := func(u person, attribute string) []string {
		credential := boss.vouch(u.identifier(), "--attr", attribute)
		return []string{
			"--credential", u.file("credential", credential), "--authority", boss.identifier(),
		}
	}
	outlet := server.start(append([]string{
		"outlet", "--listen", anywhere, "--relay", relay, "--relay-identity", server.identifier(),
		"--name", "db", "--target", "plain=" + named(t, "plain") + ",kept=" + named(t, "kept"),
		"--allow-target", "plain", "--allow-target", "kept if role=dba",
	}, presents(server, "relay-name=plain.db,kept.db")...)...)
	at := hostPortOf(wordBehind(t, outlet.ready(), "--to"))
	eventually(t, "both names are held", func() bool {
		held := 0
		for _, p := range server.status().Processes {
			for _, n := range p.Names {
				if strings.HasSuffix(n.Name, ".db") {
					held++
				}
			}
		}
		return held == 2
	})
	for _, where := range []string{relay, at} {
		reaches(t, dba.inletTo("kept.db@"+where, presents(dba, "role=dba")...), "kept")
		reaches(t, guest.inletTo("plain.db@"+where, presents(guest, "role=guest")...), "plain")
		guest.fails(notTrusted, "the outlet does not allow that", append([]string{
			"inlet", "--no-wait", "--listen", anywhere, "--to", "kept.db@" + where,
		}, presents(guest, "role=guest")...)...)
	}
	outlet.says("target kept.db: no rule allows it for this peer")
	to := make(map[string]bool)
	for _, p := range server.status().Processes {
		for _, c := range p.Connections {
			to[c.Name+" at "+portOf(t, c.To)] = true
		}
	}
	if len(to) < 2 {
		t.Errorf("the status does not tell targets apart: %v", to)
	}
	guest.fails(unreachable, "no outlet named db", append([]string{
		"inlet", "--no-wait", "--listen", anywhere, "--to", "db@" + relay,
	}, presents(guest, "role=guest")...)...)
}

// portOf is the port of an address, if it has one.
func portOf(t testing.TB, address string) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(address)
	return port
}

// TestSOCKS has curl reach services through an inlet that speaks SOCKS 5 and CONNECT, as far as the
// outlet, which has given up everything else, allows it.
func TestSOCKS(t *testing.T) {
	t.Parallel()
	curl := testenv.NeedTool(t, "curl")
	here := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("hello"))
	}))
	defer here.Close()
	port := portOf(t, here.Listener.Addr().String())
	u := newPerson(t)
	outlet := u.start(append([]string{
		"outlet", "--listen", anywhere, "--socks5", "--allow-target", "127.0.0.1:" + port,
		"--allow-target", "localhost:" + port, "--allow-target", "0.0.0.0/0:" + port,
		"--log-connections", "all",
	}, confined...)...)
	line := outlet.ready()
	outlet.says("connect=\"[" + port)
	if !strings.Contains(line, " --socks5 ") {
		t.Errorf("what the outlet prints does not reach it: %s", line)
	}
	inlet := u.inletTo(hostPortOf(wordBehind(t, line, "--to")), "--socks5")
	get := func(url string, by ...string) (string, int) {
		args := append([]string{"--silent", "--insecure", "--max-time", "60", url}, by...)
		out, err := exec.Command(curl, args...).Output()
		if err == nil {
			return string(out), 0
		}
		return string(out), err.(*exec.ExitError).ExitCode()
	}
	const noProxy, noTunnel = 97, 56 // curl's exit codes
	for _, test := range []struct {
		host          string
		socks, tunnel int
	}{
		{"127.0.0.1:" + port, 0, 0},
		{"localhost:" + port, 0, 0},
		{"127.0.0.2:" + port, noProxy, noTunnel}, // loopback is in no wide network
		{"localhost:1", noProxy, noTunnel},
		{"nowhere.invalid:" + port, noProxy, noTunnel},
	} {
		for by, want := range map[string]int{
			"--socks5-hostname " + inlet: test.socks, "--proxy http://" + inlet: test.tunnel,
		} {
			got, code := get("https://"+test.host+"/", strings.Fields(by)...)
			if code != want || code == 0 && got != "hello" {
				t.Errorf("curl %s %s: %q, exit code %d, want %d", by, test.host, got, code, want)
			}
		}
	}
	outlet.says("target=localhost:" + port)
	outlet.says("127.0.0.2:" + port + ": no rule allows it for this peer")
	plain := u.run("inlet", "--no-wait", "--listen", anywhere, "--to",
		hostPortOf(wordBehind(t, line, "--to")))
	if plain.code != unreachable || !strings.Contains(plain.stderr, "--socks5") {
		t.Errorf("an inlet without --socks5: %+v", plain)
	}
}

// TestSSHThroughConnect has ssh reach its server by a ProxyCommand that speaks CONNECT to an inlet.
func TestSSHThroughConnect(t *testing.T) {
	t.Parallel()
	socat := testenv.NeedTool(t, "socat")
	server := newSSHServer(t)
	u := newPerson(t)
	outlet := u.start("outlet", "--listen", anywhere, "--socks5", "--allow-target", server.where)
	inlet := u.inletTo(hostPortOf(wordBehind(t, outlet.ready(), "--to")), "--socks5")
	command := socat + " - PROXY:127.0.0.1:" + server.where + ",proxyport=" + portOf(t, inlet)
	cat := server.login(u, "cat; exit 7", "-o", "ProxyCommand="+command)
	cat.Stdin = strings.NewReader("hello")
	out, err := cat.Output()
	if err == nil || err.(*exec.ExitError).ExitCode() != 7 || string(out) != "hello" {
		t.Errorf("ssh: %q, %v", out, err)
	}
}

// TestServerNames has curl reach two servers of nginx's by their names, which are in TLS, and no
// other.
func TestServerNames(t *testing.T) {
	t.Parallel()
	curl, openssl := testenv.NeedTool(t, "curl"), testenv.NeedTool(t, "openssl")
	u := newPerson(t)
	key, cert := filepath.Join(u.home, "key"), filepath.Join(u.home, "cert")
	must(t, exec.Command(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a.example", "-addext",
		"subjectAltName=DNS:a.example,DNS:b.example", "-keyout", key, "-out", cert))
	args := []string{"outlet", "--listen", anywhere}
	for _, name := range []string{"a", "b"} {
		where := nginx(t, "listen %s ssl; ssl_certificate "+cert+"; ssl_certificate_key "+key+
			"; location / { return 200 "+name+"; }")
		args = append(args, "--sni", name+".example="+where)
	}
	outlet := u.start(args...)
	port := portOf(t, u.inletTo(hostPortOf(wordBehind(t, outlet.ready(), "--to"))))
	for name, want := range map[string]string{"a": "a", "b": "b", "c": ""} {
		out, err := exec.Command(curl, append(quietCurl, "--cacert", cert, "--resolve",
			name+".example:"+port+":127.0.0.1", "https://"+name+".example:"+port+"/")...).CombinedOutput()
		switch {
		case want != "" && (err != nil || string(out) != want):
			t.Errorf("%s.example: %q, %v", name, out, err)
		case want == "" && (err == nil || !strings.Contains(string(out), "unrecognized name")):
			t.Errorf("%s.example: %q, %v", name, out, err)
		}
	}
	outlet.says(`no target has the server name \"c.example\"`)
}
