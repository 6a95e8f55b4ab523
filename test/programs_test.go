//go:build unix

package test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/secureportal/sp/internal/shellword"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// TestNginx has nginx serve a big file, and curl fetch it: several at once, and several over one
// connection.
func TestNginx(t *testing.T) {
	t.Parallel()
	curl := testenv.NeedTool(t, "curl")
	size := testenv.OfRun(2<<20, 8<<20, 50<<20)
	dir, want := t.TempDir(), make([]byte, size)
	_, _ = pseudorandom(5).Read(want)
	write(t, filepath.Join(dir, "big"), want)
	write(t, filepath.Join(dir, "small"), []byte("small"))
	where := nginx(t, "listen %s; root "+dir+";")
	url := "http://" + newTopology(t, plan{target: where, inlets: 1}).address

	var tasks sync.WaitGroup
	for range 4 {
		tasks.Go(func() {
			got, err := exec.Command(curl, append(quietCurl, url+"/big")...).Output()
			if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
				t.Errorf("curl: %d bytes, %v", len(got), err)
			}
		})
	}
	tasks.Wait()
	out, err := exec.Command(curl, append(quietCurl, "--write-out", " %{num_connects}\n",
		url+"/small", url+"/small", url+"/small")...).CombinedOutput()
	if err != nil || string(out) != "small 1\nsmall 0\nsmall 0\n" {
		t.Errorf("curl over one connection: %v\n%s", err, out)
	}
}

// TestNginxProxyProtocol has nginx learn, by the PROXY protocol, from which address curl connected
// to the inlet.
func TestNginxProxyProtocol(t *testing.T) {
	t.Parallel()
	curl := testenv.NeedTool(t, "curl")
	where := nginx(t, "listen %s proxy_protocol; location / { return 200 $proxy_protocol_addr; }")
	url := "http://" + newTopology(t, plan{
		target: where, inlets: 1, outlet: []string{"--proxy-protocol", "v2"},
	}).address
	const from = "127.0.0.9"
	out, err := exec.Command(curl, append(quietCurl, "--interface", from, url)...).CombinedOutput()
	if err != nil || string(out) != from {
		t.Errorf("nginx was called from %q, not from %s: %v", out, from, err)
	}
}

// quietCurl has curl say nothing but errors, and not wait for ever.
var quietCurl = []string{
	"--silent", "--show-error", "--fail", "--noproxy", "*",
	"--max-time", fmt.Sprint(patience.Seconds()),
}

// nginx starts nginx with one server, in whose configuration %s is where it listens, which nginx
// returns.
func nginx(t *testing.T, server string) (where string) {
	t.Helper()
	program := testenv.NeedTool(t, "nginx")
	dir := t.TempDir()
	where = testkit.Address(t)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, `
daemon off; master_process off; pid %[1]s/pid; error_log stderr; events {}
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s;
	uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { %[2]s }
}`, dir, strings.Replace(server, "%s", where, 1)))
	start(t, exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf")))
	listening(t, where)
	return where
}

// TestSSH has ssh reach a server of its own through an inlet that is its ProxyCommand.
func TestSSH(t *testing.T) {
	t.Parallel()
	server := newSSHServer(t)
	w := newTopology(t, plan{target: server.where})
	login := func(command string) *exec.Cmd {
		return server.login(w.person, command,
			"-o", "ProxyCommand=sp inlet --no-wait --listen - --to "+w.route())
	}
	must(t, login("true"))
	want := make([]byte, testenv.OfRun(1<<20, 10<<20, 10<<20))
	_, _ = pseudorandom(6).Read(want)
	cat := login("cat")
	cat.Stdin = bytes.NewReader(want)
	if got := must(t, cat); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, other ones than those %d that were sent", len(got), len(want))
	}
	if err := login("exit 7").Run(); err == nil || err.(*exec.ExitError).ExitCode() != 7 {
		t.Errorf("exit 7: %v", err)
	}
	proxy := []string{
		"-F", "/dev/null", "-i", server.key, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "ProxyCommand=sp inlet --no-wait --listen - --to " + w.route(),
	}
	files := filepath.Join(w.home, "copy")
	must(t, w.program(testenv.NeedTool(t, "scp"),
		append(proxy, "-O", "root@home:"+server.key, files)...))
	must(t, exec.Command("cmp", server.key, files))
	git, tree := testenv.NeedTool(t, "git"), filepath.Join(w.home, "tree")
	must(t, w.program(git, "init", "-q", tree))
	clone := w.program(git, "clone", "-q", "ssh://root@home"+tree, tree+"2")
	ssh := shellword.Join(append([]string{server.ssh}, proxy...)...)
	clone.Env = append(clone.Env, "GIT_SSH_COMMAND="+ssh)
	must(t, clone)
	inside := server.login(w.person, "cat; exit 8", "-p", "{home.port}")
	run := w.command(append([]string{"run", "--to", "home=" + w.route(), "--"}, inside.Args...)...)
	run.Stdin = strings.NewReader("hello")
	out, err := run.Output()
	if err == nil || err.(*exec.ExitError).ExitCode() != 8 || string(out) != "hello" {
		t.Errorf("ssh in sp run: %q, %v", out, err)
	}
}

// sshServer is an sshd to which a key of its own leads.
type sshServer struct {
	where    string
	ssh, key string // program and file
}

func newSSHServer(t *testing.T) sshServer {
	t.Helper()
	return newSSHServerIn(t, "")
}

// newSSHServerIn has it listen in a network namespace; empty is the test's own.
func newSSHServerIn(t *testing.T, namespace string) sshServer {
	t.Helper()
	testenv.NeedRoot(t) // sshd separates privileges
	sshd, ssh, keygen := testenv.NeedTool(t, "sshd"), testenv.NeedTool(t, "ssh"),
		testenv.NeedTool(t, "ssh-keygen")
	dir := t.TempDir()
	for _, name := range []string{"host", "user"} {
		must(t, exec.Command(keygen, "-q", "-t", "ed25519", "-N", "",
			"-f", filepath.Join(dir, name)))
	}
	// where sshd insists on separating privileges
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		testenv.Skip(t, err.Error())
	}
	where := testkit.Address(t)
	host, port, _ := net.SplitHostPort(where)
	server := exec.Command(sshd, "-D", "-e", "-f", "/dev/null", "-p", port,
		"-o", "ListenAddress="+host,
		"-h", filepath.Join(dir, "host"), "-o", "AuthorizedKeysFile="+filepath.Join(dir,
			"user.pub"), "-o", "StrictModes=no",
		"-o", "PidFile=none", "-o", "PermitRootLogin=yes", "-o", "UsePAM=no")
	runIn(t, server, namespace)
	start(t, server).says("Server listening on")
	return sshServer{where, ssh, filepath.Join(dir, "user")}
}

// login is a command of u's that has the server run another one. Options say how ssh gets there.
func (s sshServer) login(u person, command string, options ...string) *exec.Cmd {
	return u.program(s.ssh, append(append([]string{
		"-F", "/dev/null", "-i", s.key, "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR",
	}, options...), "root@127.0.0.1", command)...)
}

// TestPostgreSQL has psql query a server of its own, and copy a few megabytes each way.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	where := newPostgres(t)
	w := newTopology(t, plan{target: where, inlets: 1})
	inlet := w.address
	query := func(sql string) *exec.Cmd { return psql(t, inlet, "-c", sql) }
	if out := must(t, query("SELECT 6 * 7")); string(out) != "42\n" {
		t.Errorf("SELECT: %q", out)
	}
	var rows bytes.Buffer
	n := testenv.OfRun(5_000, 200_000, 200_000)
	for i := range n {
		fmt.Fprintf(&rows, "%d\trow number %d\n", i, i)
	}
	must(t, query("CREATE TABLE rows (n int PRIMARY KEY, text text)"))
	upload := query("COPY rows FROM STDIN")
	upload.Stdin = bytes.NewReader(rows.Bytes())
	must(t, upload)
	if got := must(t, query("COPY (SELECT * FROM rows ORDER BY n) TO STDOUT")); !bytes.Equal(got,
		rows.Bytes()) {
		t.Errorf("COPY: %d bytes came back, other ones than those %d that were sent", len(got),
			rows.Len())
	}
	run := func(words ...string) *exec.Cmd {
		return w.command(append([]string{"run", "--to", "db=" + w.route(), "--"}, words...)...)
	}
	if out := must(t, run("psql", "-XAtq", "-c", "SELECT count(*) FROM rows",
		"postgresql://postgres@{db}/postgres")); string(out) != fmt.Sprintln(n) {
		t.Errorf("psql in sp run: %q", out)
	}
	failing := run("psql", "-XAtq", "-h", "{db.host}", "-p", "{db.port}", "-U", "postgres",
		"-v", "ON_ERROR_STOP=1", "-f", "-")
	failing.Stdin = strings.NewReader("SELECT nonsense;")
	if err := failing.Run(); err == nil || err.(*exec.ExitError).ExitCode() != 3 {
		t.Errorf("psql with an error in its script, in sp run: %v", err)
	}
}

// newPostgres starts a PostgreSQL server and returns where it listens.
func newPostgres(t *testing.T) (where string) {
	t.Helper()
	testenv.NeedRoot(t) // to become the user postgres
	initdb, postgres := testenv.NeedTool(t, "initdb"), testenv.NeedTool(t, "postgres")
	dir, err := os.MkdirTemp("", "sp-postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, exec.Command("chown", "postgres", dir))
	data := filepath.Join(dir, "data")
	where = testkit.Address(t)
	host, port, _ := net.SplitHostPort(where)
	must(t, asPostgres(initdb, "--auth=trust", "--no-sync", "--username=postgres",
		"--pgdata="+data))
	server := start(t, asPostgres(postgres, "-D", data, "-h", host, "-p", port, "-k", dir, "-F"))
	server.says("ready to accept connections")
	return where
}

// psql is psql connected to an address, which stops at the first error.
func psql(t *testing.T, where string, args ...string) *exec.Cmd {
	t.Helper()
	return postgresClient(t, "psql", where, append([]string{
		"-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
	}, args...)...)
}

// postgresClient is a program of PostgreSQL's connected to an address.
func postgresClient(t *testing.T, program, where string, args ...string) *exec.Cmd {
	t.Helper()
	host, port, _ := net.SplitHostPort(where)
	return exec.Command(testenv.NeedTool(t, program),
		append([]string{"-h", host, "-p", port, "-U", "postgres"}, args...)...)
}

// asPostgres returns a command that the user postgres gives. The words must not need quoting.
func asPostgres(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("su", "postgres", "-s", "/bin/sh",
		"-c", "exec "+strings.Join(append([]string{name}, args...), " "))
	cmd.Dir = os.TempDir()
	return cmd
}

// listening waits until somebody listens at address.
func listening(t *testing.T, address string) {
	t.Helper()
	eventually(t, "somebody listens at "+address, func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func write(t *testing.T, path string, contents []byte) {
	t.Helper()
	if err := os.WriteFile(path, contents, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRedis has redis-cli and redis-benchmark find a server of their own by what sp run tells.
func TestRedis(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{target: newRedis(t)})
	run := func(words ...string) *exec.Cmd {
		return w.command(append([]string{"run", "--to", "cache=" + w.route(), "--"}, words...)...)
	}
	cli := testenv.NeedTool(t, "redis-cli")
	must(t, run(cli, "-u", "redis://{cache}", "SET", "key", "value"))
	if out := must(t, run("sh", "-c", cli+" -h $SP_CACHE_HOST -p $SP_CACHE_PORT GET key")); string(
		out) != "value\n" {
		t.Errorf("GET: %q", out)
	}
	if benchmark, err := exec.LookPath("redis-benchmark"); err == nil {
		must(t, run(benchmark, "-q", "-p", "{cache.port}", "-n", "1000", "-c", "10", "-t", "set,get"))
	}
}
