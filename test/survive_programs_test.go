//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// actor is a program that goes through a portal of its own, again and again, until it is told that
// all is over: it then looks whether all has been done, and done once.
type actor struct {
	t       *testing.T
	name    string
	me      person
	where   string        // the inlet
	direct  string        // the service itself
	done    atomic.Int64  // pieces of work
	over    chan struct{} // closed when it is to come to its end
	scratch string        // a folder
}

// goesOn tells whether the program is to do more, and counts that it has done something. In the
// shorter forms it lets the others have their turn first.
func (a *actor) goesOn() bool {
	a.done.Add(1)
	select {
	case <-a.over:
		return false
	case <-time.After(testenv.OfRun(time.Second, 25*time.Millisecond, 0)):
		return true
	}
}

// company is programs of all kinds, each of which goes by the same relays through an inlet and an
// outlet of its own, and steady connections beside them.
type company struct {
	t       *testing.T
	me      person
	relays  []string // where they listen
	outlets []*process
	actors  []*actor
	chorus  *chorus
	tasks   sync.WaitGroup
	over    chan struct{}
	end     func() // has all programs come to their end
}

// TestSurvivesUnderPrograms kills the relay under programs of all kinds, and two relays in turn.
// None of them notices. With SP_FULL=1 that is done 50 times, beside 1,000 connections.
func TestSurvivesUnderPrograms(t *testing.T) {
	t.Parallel()
	relays := testenv.OfRun([]int{1}, []int{1, 2}, []int{1, 2})
	kills, connections := testenv.OfRun(1, 2, 50), testenv.OfRun(4, 20, 1000)
	for _, n := range relays {
		t.Run(fmt.Sprintf("relays %d", n), func(t *testing.T) {
			c := newCompany(t, n, connections)
			var done []time.Time
			for i := range kills {
				done = append(done, time.Now())
				c.restart(i % n)
			}
			c.workedOn()
			c.end()
			c.chorus.ends()
			for _, a := range c.actors {
				t.Logf("%s: %d pieces of work beside %d kills", a.name, a.done.Load(), kills)
			}
			t.Logf("%d connections beside them stood still for %s", connections,
				percentiles(c.chorus.stoodStill(done)))
		})
	}
}

func newCompany(t *testing.T, relays, connections int) *company {
	t.Helper()
	c := &company{t: t, me: survivor(t), over: make(chan struct{})}
	for range relays {
		_, at := c.me.startRelay()
		c.relays = append(c.relays, at)
	}
	ssh, postgres := newSSHServer(t), newPostgres(t)
	redis, tree := newRedis(t), newTree(t, testenv.OfRun(1, 2, 4))
	must(t, postgresClient(t, "pgbench", postgres, "--initialize", "--quiet", "postgres"))
	c.end = sync.OnceFunc(func() {
		close(c.over)
		c.tasks.Wait()
	})
	t.Cleanup(c.end)
	c.begin("ssh-typing", ssh.where, ssh.types)
	c.begin("ssh-cat", ssh.where, ssh.cats)
	c.begin("psql", postgres, transacts)
	c.begin("pgbench", postgres, benches)
	c.begin("redis", redis, pipes)
	c.begin("rsync", tree.serve(), tree.syncs)
	steady := c.portal("steady", steadyService(t))
	c.chorus = newChorus(t, connections, steadyPace(connections), steady)
	c.workedOn()
	return c
}

// portal returns where the inlet of a new portal listens.
func (c *company) portal(name, service string) string {
	c.t.Helper()
	relay, others := c.relays[0], c.relays[1:]
	patient := []string{"--connect-timeout", unhurried(10 * time.Second).String()}
	var also []string
	for _, at := range others {
		also = append(also, "--relay", at)
		patient = append(patient, "--to", name+"@"+at)
	}
	c.outlets = append(c.outlets, c.me.startNamed(relay, name, service, also...))
	return c.me.inletTo(name+"@"+relay, patient...)
}

// begin has a program go through a portal of its own.
func (c *company) begin(name, service string, does func(*actor) error) {
	c.t.Helper()
	a := &actor{
		t: c.t, name: name, me: c.me, where: c.portal(name, service), direct: service,
		over: c.over, scratch: c.t.TempDir(),
	}
	c.actors = append(c.actors, a)
	c.tasks.Go(func() {
		if err := does(a); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	})
}

// restart kills a relay, starts it again, and waits until all go on and all names are back.
func (c *company) restart(relay int) {
	c.t.Helper()
	registered := make([]int, len(c.outlets))
	for i, p := range c.outlets {
		registered[i] = p.said(registeredLine)
	}
	c.me.restart(relay)
	c.workedOn()
	for i, p := range c.outlets {
		p.saysAgain(registeredLine, registered[i])
	}
}

// workedOn waits until each program has done something more, and each connection has.
func (c *company) workedOn() {
	c.t.Helper()
	for _, a := range c.actors {
		before := a.done.Load()
		eventually(c.t, a.name+" goes on", func() bool {
			return c.t.Failed() || a.done.Load() > before
		})
	}
	c.chorus.goesOn()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// talkTo runs cmd, to whose stdin say writes, while it reads what comes back.
func talkTo(cmd *exec.Cmd, say func(in io.WriteCloser, out *bufio.Reader) error) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = say(in, bufio.NewReader(out))
	_ = in.Close()
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	return nil
}

// loggedIn is a command in a session through an actor's inlet.
func (s sshServer) loggedIn(a *actor, command string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(a.where)
	return s.login(a.me, command, "-p", port)
}

// types has a shell answer each line that is typed.
func (s sshServer) types(a *actor) error {
	return talkTo(s.loggedIn(a, "sh"), func(in io.WriteCloser, out *bufio.Reader) error {
		for n := 0; a.goesOn(); n++ {
			if _, err := fmt.Fprintf(in, "echo line $((%d + 1))\n", n); err != nil {
				return err
			}
			if got, err := out.ReadString('\n'); got != fmt.Sprintf("line %d\n", n+1) {
				return fmt.Errorf("%q for line %d: %w", got, n, err)
			}
		}
		return nil
	})
}

// cats has one cat send back, from beginning to end, as much as there is time for.
func (s sshServer) cats(a *actor) error {
	const seed, size = 8, 256 << 10 // of what is one piece of work
	return talkTo(s.loggedIn(a, "cat"), func(in io.WriteCloser, out *bufio.Reader) error {
		var total atomic.Int64
		said := make(chan error, 1)
		go func() {
			words := pseudorandom(seed)
			for a.goesOn() {
				if n, err := io.CopyN(in, words, size); err != nil {
					said <- err
					return
				} else {
					total.Add(n)
				}
			}
			said <- in.Close()
		}()
		words, got := pseudorandom(seed), int64(0)
		for {
			b := make([]byte, size)
			n, err := io.ReadFull(out, b)
			if wrong := verifyFrom(bytes.NewReader(b[:n]), words, int64(n)); wrong != nil {
				return wrong
			}
			if got += int64(n); err != nil {
				break
			}
		}
		if err := <-said; err != nil || got != total.Load() {
			return fmt.Errorf("%d bytes of %d came back, %w", got, total.Load(), err)
		}
		return nil
	})
}

// transacts has one transaction grow row by row, and then be there.
func transacts(a *actor) error {
	if err := psql(a.t, a.where, "-c", "CREATE TABLE rows (n int PRIMARY KEY)").Run(); err != nil {
		return err
	}
	rows := 0
	err := talkTo(psql(a.t, a.where), func(in io.WriteCloser, out *bufio.Reader) error {
		if _, err := io.WriteString(in, "BEGIN;\n"); err != nil {
			return err
		}
		for ; a.goesOn(); rows++ {
			if _, err := fmt.Fprintf(in, "INSERT INTO rows VALUES (%d) RETURNING n;\n",
				rows); err != nil {
				return err
			}
			if got, err := out.ReadString('\n'); got != fmt.Sprintf("%d\n", rows) {
				return fmt.Errorf("%q for row %d: %w", got, rows, err)
			}
		}
		_, err := io.WriteString(in, "COMMIT;\n")
		return err
	})
	if err != nil {
		return err
	}
	return holds(a, "SELECT count(*) FROM rows", fmt.Sprint(rows))
}

// holds asks the server itself.
func holds(a *actor, query, want string) error {
	got, err := psql(a.t, a.direct, "-c", query).Output()
	if err != nil || strings.TrimSpace(string(got)) != want {
		return fmt.Errorf("%s: %s, want %s: %w", query, got, want, err)
	}
	return nil
}

// benches has pgbench do transactions with some clients, all of which are there in the end, once.
func benches(a *actor) error {
	clients, each := testenv.OfRun(5, 20, 20), testenv.OfRun(2, 10, 10)
	runs := 0
	for a.goesOn() {
		out, err := postgresClient(a.t, "pgbench", a.where, "--no-vacuum",
			"-c", fmt.Sprint(clients), "-t", fmt.Sprint(each), "postgres").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		runs++
	}
	return errors.Join(
		holds(a, "SELECT count(*) FROM pgbench_history", fmt.Sprint(runs*clients*each)),
		holds(a, "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = sum(delta) "+
			"FROM pgbench_history", "t"))
}

// newRedis starts a Redis server and returns where it listens.
func newRedis(t *testing.T) (where string) {
	t.Helper()
	server := testenv.NeedTool(t, "redis-server")
	where = testkit.Address(t)
	host, port, _ := net.SplitHostPort(where)
	start(t, exec.Command(server, "--bind", host, "--port", port, "--save", "",
		"--dir", t.TempDir()))
	listening(t, where)
	return where
}

// redisClient is redis-cli connected to an address.
func redisClient(t *testing.T, where string, args ...string) *exec.Cmd {
	t.Helper()
	host, port, _ := net.SplitHostPort(where)
	return exec.Command(testenv.NeedTool(t, "redis-cli"),
		append([]string{"-h", host, "-p", port}, args...)...)
}

// pipes has redis-cli push numbers to a list, and all of them are there in the end, in order.
func pipes(a *actor) error {
	const batch = 1000 // numbers that are one piece of work
	pushed := 0
	err := talkTo(redisClient(a.t, a.where, "--pipe", "--pipe-timeout", "0"),
		func(in io.WriteCloser, out *bufio.Reader) error {
			for a.goesOn() {
				var b bytes.Buffer
				for range batch {
					n := fmt.Sprint(pushed)
					fmt.Fprintf(&b, "*3\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$%d\r\n%s\r\n", len(n), n)
					pushed++
				}
				if _, err := in.Write(b.Bytes()); err != nil {
					return err
				}
			}
			_ = in.Close()
			said, err := io.ReadAll(out)
			if !strings.Contains(string(said), fmt.Sprintf("errors: 0, replies: %d", pushed)) {
				return fmt.Errorf("for %d numbers: %s, %w", pushed, said, err)
			}
			return nil
		})
	if err != nil {
		return err
	}
	return countsTo(redisClient(a.t, a.direct, "--raw", "LRANGE", "list", "0", "-1"), pushed)
}

// countsTo looks whether a command prints the numbers from 0 to below n, a line each. They may be
// millions.
func countsTo(cmd *exec.Cmd, n int) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines, got := bufio.NewScanner(out), 0
	var want []byte
	for ; lines.Scan(); got++ {
		if want = strconv.AppendInt(want[:0], int64(got), 10); !bytes.Equal(lines.Bytes(), want) {
			err = fmt.Errorf("%q in place of %d", lines.Bytes(), got)
			_ = cmd.Process.Kill()
			break
		}
	}
	err = errors.Join(err, lines.Err(), cmd.Wait())
	if err == nil && got != n {
		err = fmt.Errorf("%d of %d numbers are there", got, n)
	}
	return err
}

// tree is a folder that rsync serves.
type tree struct {
	t     *testing.T
	dir   string
	rsync string
}

func newTree(t *testing.T, megabytes int) *tree {
	t.Helper()
	f := &tree{t, t.TempDir(), testenv.NeedTool(t, "rsync")}
	words := pseudorandom(9)
	for n := range megabytes {
		dir := filepath.Join(f.dir, "source", fmt.Sprint(n%3))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for k, size := range []int{1 << 19, 1 << 18, 1 << 12, 100, 0} {
			b := make([]byte, size)
			_, _ = words.Read(b)
			write(t, filepath.Join(dir, fmt.Sprintf("%d-%d", n, k)), b)
		}
	}
	return f
}

// serve starts a server and returns where it listens.
func (f *tree) serve() string {
	f.t.Helper()
	where := testkit.Address(f.t)
	host, port, _ := net.SplitHostPort(where)
	config := filepath.Join(f.dir, "rsyncd.conf")
	write(f.t, config, fmt.Appendf(nil, "use chroot = no\nreverse lookup = no\nuid = %d\n"+
		"gid = %d\n[tree]\npath = %s\nread only = no\n", os.Getuid(), os.Getgid(), f.dir))
	start(f.t, exec.Command(f.rsync, "--daemon", "--no-detach", "--config", config,
		"--address", host, "--port", port, "--log-file", filepath.Join(f.dir, "log")))
	listening(f.t, where)
	return where
}

// syncs fetches the tree and sends it to another place, again and again.
func (f *tree) syncs(a *actor) error {
	want, err := contents(filepath.Join(f.dir, "source"))
	if err != nil {
		return err
	}
	for a.goesOn() {
		fetched, sent := filepath.Join(a.scratch, "fetched"), filepath.Join(f.dir, "sent")
		there := "rsync://" + a.where + "/tree/"
		for _, way := range [][2]string{{there + "source/", fetched}, {fetched + "/", there + "sent"}} {
			out, err := exec.Command(f.rsync, "--archive", way[0], way[1]).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
		}
		for _, dir := range []string{fetched, sent} {
			got, err := contents(dir)
			if err != nil || !maps.Equal(got, want) {
				return fmt.Errorf("%s is not the same tree: %d files, %w", dir, len(got), err)
			}
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// contents returns the sums of all files in a folder.
func contents(dir string) (map[string][sha256.Size]byte, error) {
	sums := make(map[string][sha256.Size]byte)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		sums[path] = sha256.Sum256(b)
		return err
	})
	return sums, err
}
