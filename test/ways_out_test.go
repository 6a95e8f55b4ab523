//go:build unix

package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// TestBehindNginx has a relay behind nginx, which has the certificate: to the relay it is ws://, to
// the others wss://. nginx cuts what idles for ten pings; these do not let it come to that. A
// browser finds a page.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	pings := min(unhurried(300*time.Millisecond), 1500*time.Millisecond)
	cutAfter := 10 * pings
	curl := testenv.NeedTool(t, "curl")
	testenv.NeedTool(t, "nginx")
	u := newPerson(t)
	show, believe := u.certified()
	relay := u.start("relay", "--listen", "ws://127.0.0.1:0/sp").ready()
	behind := strings.TrimSuffix(strings.TrimPrefix(relay, "ws://"), "/sp")
	where := nginx(t, fmt.Sprintf(`listen %%s ssl; ssl_certificate %s; ssl_certificate_key %s;
		location / {
			proxy_pass http://%s; proxy_http_version 1.1; proxy_read_timeout %dms;
			proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
		}`, show[1], show[3], behind, cutAfter.Milliseconds()))
	often := append([]string{"--keepalive", pings.String()}, believe...)
	m := newMirror(t, bothWays()/2)
	outlet := u.startNamed("wss://"+where+"/sp", "db", m.address, often...)
	inlet := u.start(append([]string{
		"inlet", "--listen", anywhere, "--to", "db@wss://" + where + "/sp",
	}, often...)...)
	listens := inlet.ready()
	idle := dial(t, listens)
	send(t, idle, string(askEcho))
	m.transfers(t, listens)
	<-time.After(2*cutAfter + time.Second) // the subject
	if err := echoes(idle, "still here"); err != nil {
		t.Error(err)
	}
	for _, p := range []*process{outlet, inlet} {
		if n := p.said("not registered") + p.said("far end not reached"); n > 0 {
			t.Errorf("nginx has cut it %d times", n)
		}
	}
	page, err := exec.Command(curl, append(quietCurl, "--insecure",
		"https://"+where+"/")...).CombinedOutput()
	if err != nil || !strings.Contains(string(page), "A node of sp is here") {
		t.Errorf("a browser sees %v: %s", err, page)
	}
}

// wayOut is a proxy that makes connections for others, and the flags by which it is used.
type wayOut struct {
	flags []string
	wrong []string // the same with another password
	says  string   // what is said then
}

// passwords writes one, and another one, and returns the files.
func (u person) passwords(right string) (good, bad []string) {
	const flag = "--proxy-password-file"
	return []string{flag, u.file("password", right+"\n")}, []string{flag, u.file("wrong", "wrong\n")}
}

const proxyUser, proxyPassword = "somebody", "his password"

// squid is an HTTP proxy that wants a password.
func squid(u person) wayOut {
	t := u.t.(*testing.T)
	program := testenv.NeedTool(t, "squid")
	const helper = "/usr/lib/squid/basic_ncsa_auth"
	if _, err := os.Stat(helper); err != nil {
		testenv.Skip(t, "needs "+helper)
	}
	dir, err := os.MkdirTemp("", "squid") // where another user, which it takes of root, can read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	hash := must(t, exec.Command(testenv.NeedTool(t, "openssl"), "passwd", "-apr1", proxyPassword))
	users, where := filepath.Join(dir, "users"), testkit.Address(t)
	for path, content := range map[string]string{
		users: proxyUser + ":" + string(hash),
		filepath.Join(dir, "conf"): fmt.Sprintf(`http_port %s
auth_param basic program %s %s
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
cache_mem 0
access_log none
cache_log /dev/null
pid_filename none
coredump_dir %s
cache_effective_user nobody
netdb_filename none
shutdown_lifetime 0 seconds
`, where, helper, users, dir),
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := "sp" + filepath.Base(dir) // of what it shares with itself, in /dev/shm
	t.Cleanup(func() {
		left, _ := filepath.Glob("/dev/shm/" + name + "-*")
		for _, path := range left {
			_ = os.Remove(path)
		}
	})
	start(t, exec.Command(program, "-N", "-n", name, "-f", filepath.Join(dir, "conf")))
	listening(t, where)
	return basicProxy(u, where)
}

// tinyproxy is another one.
func tinyproxy(u person) wayOut {
	t := u.t.(*testing.T)
	program := testenv.NeedTool(t, "tinyproxy")
	where := testkit.Address(t)
	host, port, _ := net.SplitHostPort(where)
	conf := u.file("tinyproxy.conf", fmt.Sprintf("Port %s\nListen %s\nTimeout 600\nMaxClients 100\n"+
		"BasicAuth %s %s\n", port, host, proxyUser, strings.ReplaceAll(proxyPassword, " ", "_")))
	start(t, exec.Command(program, "-d", "-c", conf))
	listening(t, where)
	p := basicProxy(u, where)
	good, _ := u.passwords(strings.ReplaceAll(proxyPassword, " ", "_"))
	p.flags = append(p.flags[:2:2], good...)
	return p
}

func basicProxy(u person, where string) wayOut {
	by := []string{"--proxy", "http://" + proxyUser + "@" + where}
	good, bad := u.passwords(proxyPassword)
	return wayOut{
		append(by[:2:2], good...), append(by[:2:2], bad...), "does not take that user and password",
	}
}

// socksOfSSH is ssh -D, which is a SOCKS proxy.
func socksOfSSH(u person) wayOut {
	t := u.t.(*testing.T)
	server := newSSHServer(t)
	where := testkit.Address(t)
	host, port, _ := net.SplitHostPort(server.where)
	login := server.login(u, "cat", "-p", port, "-o", "HostName="+host, "-D", where)
	if _, err := login.StdinPipe(); err != nil { // at whose end it would be over
		t.Fatal(err)
	}
	start(t, login)
	listening(t, where)
	return wayOut{flags: []string{"--proxy", "socks5://" + where}}
}

// TestProxies has everything go out through a proxy that others have made: links of all kinds, to a
// relay from both sides.
func TestProxies(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(person) wayOut{
		"squid": squid, "tinyproxy": tinyproxy, "ssh -D": socksOfSSH,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newPerson(t)
			by := build(u)
			show, believe := u.certified()
			flags := append(by.flags, believe...)
			relay := u.start(append([]string{
				"relay", "--listen", "wss://localhost:0/sp", "--listen", anywhere,
			}, show...)...)
			at := strings.Fields(relay.ready())
			m := newMirror(t, bothWays()/4)
			u.startNamed(at[0], "db", m.address, flags...)
			for _, relay := range at {
				m.transfers(t, u.inletTo("db@"+relay, flags...))
			}
			if by.wrong != nil {
				for _, relay := range at {
					u.fails(unreachable, by.says,
						append(append(sendTo(nodeOf(u, "db@"+relay)+toUppercase), by.wrong...), believe...)...)
				}
			}
		})
	}
}
