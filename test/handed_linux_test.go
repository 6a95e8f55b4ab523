package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// holder is what has made sockets for others to listen at, and keeps them: systemd, to a service.
type holder struct {
	t     testing.TB
	names []string
	files []*os.File
}

// socket makes a socket, which the services get under a name, and returns where it is.
func (h *holder) socket(name, network, address string) string {
	h.t.Helper()
	l, err := netio.ListenConfig().Listen(h.t.Context(), network, address)
	if err != nil {
		h.t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		h.t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	_ = l.Close()
	h.t.Cleanup(func() { _ = f.Close() })
	h.names, h.files = append(h.names, name), append(h.files, f)
	if network == "unix" {
		return "unix:" + address
	}
	return l.Addr().String()
}

// handOver has cmd be handed all sockets, as systemd does it: with its own number in the
// environment, which is known only when it runs.
func (h *holder) handOver(cmd *exec.Cmd) {
	script := fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES='%s' exec "$0" "$@"`,
		len(h.files), strings.Join(h.names, ":"))
	cmd.Args = append([]string{"/bin/sh", "-c", script}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.ExtraFiles = h.files
}

// TestHandedSockets has every role listen at sockets that it was handed, by their names and by
// their numbers, several of one name among them, and a program that sp starts get none of them.
//
//	in, in2 ─▶ inlet ─▶ bridge ─▶ relay ◀── outlet ─▶ service
func TestHandedSockets(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	h := &holder{t: t}
	u.through = h.handOver
	in := h.socket("in", "tcp", anywhere)
	in2 := h.socket("in", "unix", filepath.Join(u.home, "in.sock"))
	relay := h.socket("relay", "tcp", anywhere)
	bridge := h.socket("bridge", "tcp", anywhere)
	u.start("relay", "--listen", "systemd:relay").ready()
	u.start("bridge", "--listen", "fd:6", "--next", relay).ready()
	u.start("outlet", "--relay", relay, "--name", "db", "--target", named(t, "db")).ready()
	p := u.start("inlet", "--listen", "systemd:in", "--to", bridge+"/db@"+relay)
	if got, want := p.ready(), in+" "+in2; got != want {
		t.Errorf("it says that it listens at %s, and does at %s", got, want)
	}
	reaches(t, in, "db")
	reaches(t, in2, "db")

	const look = "env | grep LISTEN_; " +
		"for n in 3 4 5 6; do test -e /dev/fd/$n && echo open: $n; done; true"
	out, err := u.command("run", "--serve", "web="+named(t, "web"), "--listen", "fd:3", "--",
		"sh", "-c", look).CombinedOutput()
	if text := string(out); err != nil || strings.Contains(text, "LISTEN_") ||
		strings.Contains(text, "open:") {
		t.Errorf("what was handed to sp its program gets as well: %v\n%s", err, out)
	}
}

// TestUpKeepsHandedSockets has a reload change who listens at a handed socket, and give it up and
// take it again, with nobody refused, and a socket that is not there be refused as a whole.
func TestUpKeepsHandedSockets(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	h := &holder{t: t}
	in := h.socket("in", "tcp", anywhere)
	f := newUpFile(u, "")
	f.set("outlet.a", "listen = 'unix:a.sock'\ntarget = '"+service(t, answerTalkOrComplain)+"'\n")
	keys := fmt.Sprintf("listen = 'systemd:in'\nto = 'unix:%s/a.sock'\n", u.home)
	f.set("inlet.a", keys)
	cmd := u.command("up", "--config", f.write())
	h.handOver(cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := start(t, cmd)
	p.line("inlet a", 1)
	nobodyIsTold(t, in, changes(), func(n int) {
		f.set("inlet.a", fmt.Sprintf("%sconnect-timeout = '%ds'\n", keys, 20+n%2))
		f.reload(p)
	})
	delete(f.tables, "inlet.a")
	f.order = f.order[:1]
	f.reload(p)
	p.says("sockets were handed to this process at which nothing listens")
	waits := dial(t, in) // and is accepted by who comes
	f.set("inlet.b", keys)
	f.reload(p)
	if err := (talk{1, 10, 10}).ask(waits); err != nil {
		t.Error(err)
	}
	f.set("inlet.b", strings.Replace(keys, "systemd:in", "fd:3", 1))
	f.reload(p) // which is the same socket
	if err := talkOnce(in, talk{2, 10, 10}); err != nil {
		t.Error(err)
	}
	f.set("inlet.c", "listen = 'systemd:other'\nto = 'h:1'\n")
	f.write()
	p.signal(syscall.SIGHUP)
	p.says("what was handed to this process is called in")
	p.stop()
	p.ends(done)
}

// TestReplacedProcess has a process be replaced by another one, under load: the next one begins
// before the one before ends. An inlet and an outlet that listens have the same socket, which
// somebody keeps for both; an outlet behind a relay has the same name, which both share, or which
// the next one takes. Nobody is refused, with --survive as it is by default: what the one before
// has not got it says at its end. SP_FULL=1 does so a hundred times, and .ci/run three.
func TestReplacedProcess(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"inlet", "outlet", "--share", "--replace"} {
		if what != "inlet" && !isLonger() {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			u, h := newPerson(t), &holder{t: t}
			u.survive = unhurried(time.Minute).String()
			target := service(t, answerTalkOrComplain)
			where := h.socket("where", "tcp", anywhere)
			begin := func(args ...string) *process {
				cmd := u.command(args...)
				h.handOver(cmd)
				p := start(t, cmd)
				p.ready()
				return p
			}
			args, inlet := u.replaceable(what, where, target)
			p := begin(args...)
			if what != "inlet" {
				inlet = u.start("inlet", "--listen", anywhere, "--to", inlet).ready()
			}
			nobodyIsTold(t, inlet, changes(), func(int) {
				next := begin(args...)
				p.stop()
				p.ends(done)
				p = next
			})
		})
	}
}

// TestRestartedOutlet has an outlet that listens at a handed socket be another process under the
// load of many short connections, the next one before the one before has ended, or after that, as
// systemd does it. Links of the sessions of one come to the other, and nobody is told.
func TestRestartedOutlet(t *testing.T) {
	t.Parallel()
	for _, overlap := range []bool{false, true} {
		t.Run(fmt.Sprint("overlapping ", overlap), func(t *testing.T) {
			t.Parallel()
			u, h := newPerson(t), &holder{t: t}
			u.survive = unhurried(time.Minute).String()
			where := h.socket("where", "tcp", anywhere)
			args, to := u.replaceable("outlet", where, service(t, echo))
			begin := func() *process {
				cmd := u.command(args...)
				h.handOver(cmd)
				p := start(t, cmd)
				p.ready()
				return p
			}
			p := begin()
			inlet := u.start("inlet", "--listen", anywhere, "--to", to).ready()
			c := calling(t, inlet)
			for range changes() {
				c.awaitMore()
				before := p
				if overlap {
					p = begin()
				}
				before.stop()
				before.ends(done)
				if !overlap {
					p = begin()
				}
			}
			c.awaitMore()
			c.end()
		})
	}
}

// callers make short connections, one after the other, which they close when they have been
// answered. So few links are clean, and many new ones are made.
type callers struct {
	t     testing.TB
	good  atomic.Int64
	over  atomic.Bool
	tasks sync.WaitGroup
}

// calling has callers talk to an echo service until end.
func calling(t testing.TB, inlet string) *callers {
	c := &callers{t: t}
	for range 16 {
		c.tasks.Go(func() {
			for !c.over.Load() {
				if err := callOnce(inlet); err != nil {
					t.Errorf("somebody is told: %v", err)
				}
				c.good.Add(1)
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func callOnce(inlet string) error {
	conn, err := dialWhere(inlet)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	return echoes(conn, "hello")
}

// awaitMore waits until all have been answered.
func (c *callers) awaitMore() {
	c.t.Helper()
	want := c.good.Load() + 32
	eventually(c.t, "calls that are answered", func() bool { return c.good.Load() >= want })
}

func (c *callers) end() {
	c.over.Store(true)
	c.tasks.Wait()
}

// replaceable returns the command line of what TestReplacedProcess replaces, and where that can be
// reached: an inlet's clients connect there, and it is the others' route.
func (u person) replaceable(what, where, target string) (args []string, at string) {
	u.t.Helper()
	switch what {
	case "inlet":
		outlet := u.start("outlet", "--listen", anywhere, "--target", target)
		to := wordBehind(u.t, outlet.ready(), "--to")
		return []string{"inlet", "--listen", "systemd:where", "--to", to}, where
	case "outlet":
		return []string{"outlet", "--listen", "systemd:where", "--target", target}, where
	}
	relay := u.start("relay", "--listen", anywhere).ready()
	return []string{
		"outlet", "--relay", relay, "--name", "db", "--target", target, what,
	}, "db@" + relay
}

// TestSocketActivate has systemd's own tool hand sockets to sp when somebody connects.
func TestSocketActivate(t *testing.T) {
	t.Parallel()
	tool := testenv.NeedTool(t, "systemd-socket-activate")
	u := newPerson(t)
	target := named(t, "db")
	to := wordBehind(t, u.start("outlet", "--listen", anywhere, "--target", target).ready(), "--to")
	one, two := filepath.Join(u.home, "one"), filepath.Join(u.home, "two")
	cmd := u.program(tool, "--listen="+one, "--listen="+two, "--fdname=web:web", u.binary,
		"inlet", "--listen", "systemd:web", "--to", to)
	for _, kv := range cmd.Env { // the tool gives its program no other
		name, _, _ := strings.Cut(kv, "=")
		cmd.Args = append(cmd.Args[:1], append([]string{"--setenv=" + name}, cmd.Args[1:]...)...)
	}
	p := start(t, cmd)
	p.says("Listening on " + two)
	c, err := net.Dial("unix", two)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("db"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "db" {
		t.Fatalf("got %q, %v", got, err)
	}
	_, _ = c.Close(), reaches(t, "unix:"+one, "db").Close()
	p.stop()
	p.ends(done)
}
