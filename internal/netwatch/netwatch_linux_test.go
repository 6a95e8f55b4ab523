package netwatch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// watchEnv has this test's binary, run anew, watch and print what changes, until it is told to
// stop. Its value is "deaf" for a watcher that the kernel does not tell, and "clock" for one that
// prints the clock's jumps as well: a busy machine may stand still at any time. restEnv is how long
// it rests then, as a duration, if that is not what it is for users.
const (
	watchEnv = "SP_TEST_NETWATCH"
	restEnv  = "SP_TEST_NETWATCH_REST"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(watchEnv); how != "" {
		watch(how)
		return
	}
	goleak.VerifyTestMain(m)
}

func watch(how string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	tell := func(c Change) {
		if how != "clock" {
			c.Jumped = 0
		}
		if c.matters() {
			fmt.Println(c)
		}
	}
	w := New(Config{Tell: tell, Busy: func() bool { return true }})
	if rest, err := time.ParseDuration(os.Getenv(restEnv)); err == nil {
		w.rest = rest
	}
	open := w.open
	w.open = func() source {
		from := open()
		if how == "deaf" {
			from.close()
			from = looked{}
		}
		fmt.Println("watching", from.isDeaf())
		return from
	}
	w.Run(ctx)
}

// child is a process that watches.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	pulse *testkit.Pulse
}

// startChild starts a process that watches, by a program that runs its arguments if there is one.
func startChild(t *testing.T, how string, by ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(by, self)
	c := &child{
		t: t, cmd: exec.Command(args[0], args[1:]...), lines: make(chan string, 100),
		pulse: testkit.StartPulse(),
	}
	t.Cleanup(c.pulse.Stop)
	c.cmd.Env = append(os.Environ(), watchEnv+"="+how)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go c.read(out, read)
	t.Cleanup(func() {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("the process that watches: %v", err)
		}
	})
	want := fmt.Sprint("watching ", how == "deaf")
	if got := testkit.Within(t, c.lines, "the process that watches"); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	return c
}

func (c *child) read(out io.Reader, done chan<- struct{}) {
	defer close(done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		c.lines <- lines.Text()
	}
}

// next returns the next line, which is to be there within a second of begin on a quiet machine.
func (c *child) next(begin time.Time, what string) string {
	c.t.Helper()
	line := testkit.Within(c.t, c.lines, what)
	took := time.Since(begin)
	if most := c.pulse.Stretch(time.Second, begin); took > most {
		c.t.Errorf("%s: %q after %v", what, line, took)
	}
	c.t.Logf("%s: %q after %v", what, line, took.Round(time.Millisecond))
	return line
}

// space is a network namespace with a line to nobody, both of whose ends are in it.
type space struct {
	t    *testing.T
	name string
}

func newSpace(t *testing.T) space {
	t.Helper()
	testenv.NeedNetns(t)
	s := space{t, fmt.Sprintf("sp%d-netwatch-%s", os.Getpid(), filepath.Base(t.Name()))}
	must(t, "ip", "netns", "add", s.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", s.name).Run() })
	s.ip("link set lo up")
	s.ip("link add eth type veth peer name far")
	s.ip("link set eth up")
	s.ip("link set far up")
	s.ip("address add 10.7.0.2/24 dev eth")
	s.ip("address add 10.8.0.2/24 dev eth")
	s.ip("address add 2001:db8:7::2/64 dev eth nodad")
	s.ip("address add 2001:db8:7::3/64 dev eth nodad")
	s.ip("route add default via 10.7.0.1")
	s.ip("-6 route add default via 2001:db8:7::1")
	return s
}

func (s space) ip(args string) {
	s.t.Helper()
	must(s.t, "ip", append([]string{"-n", s.name}, strings.Fields(args)...)...)
}

func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// tells does something to the network, of which a line is to tell, and no other before it.
func (s space) tells(c *child, args, want string) {
	s.t.Helper()
	begin := time.Now()
	s.ip(args)
	if line := c.next(begin, args); line != want {
		s.t.Errorf("%s: got %q, want %q", args, line, want)
	}
}

// unrelated is what is of no matter, and how it ends.
var unrelated = [][2]string{
	{"address add 10.99.0.1/32 dev lo", "address del 10.99.0.1/32 dev lo"},
	{
		"address add 169.254.7.7/16 dev eth scope link",
		"address del 169.254.7.7/16 dev eth",
	},
	{"address add fe80::77/64 dev eth nodad", "address del fe80::77/64 dev eth"},
	{
		"address change 2001:db8:7::2/64 dev eth valid_lft 3000 preferred_lft 2000",
		"address change 2001:db8:7::2/64 dev eth valid_lft forever preferred_lft forever",
	},
	{
		"address change 10.7.0.2/24 dev eth valid_lft 3000 preferred_lft 2000",
		"address change 10.7.0.2/24 dev eth valid_lft forever preferred_lft forever",
	},
	{"route add 10.200.0.0/16 via 10.7.0.1", "route del 10.200.0.0/16"},
	{"link add container type veth peer name outside", "link delete container"},
	{"link set container up", ""},
	{"link set outside up", ""},
	{"route add default via 10.7.0.1 metric 500", "route del default metric 500"}, // not the best
}

// unrelated has all that happen, or end.
func (s space) unrelated(end int) {
	s.t.Helper()
	for _, do := range unrelated {
		if do[end] != "" {
			s.ip(do[end])
		}
	}
}

// TestNamespace changes the network of a namespace, and also what is of no matter: that is never
// told, and the next line is about the next change.
func TestNamespace(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	c := startChild(t, "told", "ip", "netns", "exec", s.name)
	tells := func(args, want string) { t.Helper(); s.tells(c, args, want) }
	s.unrelated(0)
	tells("address add 10.7.0.3/24 dev eth", "10.7.0.3 is new")
	tells("address del 10.7.0.3/24 dev eth", "10.7.0.3 is gone")
	tells("address add 2001:db8:7::4/64 dev eth nodad", "2001:db8:7::4 is new")
	s.unrelated(1)
	tells("route replace default via 10.8.0.1",
		"no longer IPv4 by 10.7.0.1 on eth, now IPv4 by 10.8.0.1 on eth")
	tells("-6 route del default", "no longer IPv6 by 2001:db8:7::1 on eth")
	tells("-6 route add default via 2001:db8:7::9", "now IPv6 by 2001:db8:7::9 on eth")
	// A VPN takes the Internet in two halves, or in a table of its own.
	tells("route add 128.0.0.0/1 via 10.7.0.9",
		"no longer IPv4 by 10.8.0.1 on eth, now IPv4 by 10.7.0.9 on eth")
	tells("route del 128.0.0.0/1",
		"no longer IPv4 by 10.7.0.9 on eth, now IPv4 by 10.8.0.1 on eth")
	s.ip("route add default via 10.7.0.9 table 77")
	tells("rule add table 77",
		"no longer IPv4 by 10.8.0.1 on eth, now IPv4 by 10.7.0.9 on eth")
	tells("rule del table 77",
		"no longer IPv4 by 10.7.0.9 on eth, now IPv4 by 10.8.0.1 on eth")
	// The kernel does not say that IPv4's routes go with a device, and takes IPv6's addresses too.
	tells("link set eth down", "2001:db8:7::2 is gone, 2001:db8:7::3 is gone, "+
		"2001:db8:7::4 is gone, "+
		"no longer IPv4 by 10.8.0.1 on eth, no longer IPv6 by 2001:db8:7::9 on eth")
	tells("address flush dev eth", "10.7.0.2 is gone, 10.8.0.2 is gone")
}

// TestNamespaceDeaf is the same where the kernel does not tell.
func TestNamespaceDeaf(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	c := startChild(t, "deaf", "ip", "netns", "exec", s.name)
	for args, want := range map[string]string{
		"address add 10.7.0.3/24 dev eth":      "10.7.0.3 is new",
		"address del 2001:db8:7::2/64 dev eth": "2001:db8:7::2 is gone",
		"route replace default via 10.8.0.1": "no longer IPv4 from 10.7.0.2, " +
			"now IPv4 from 10.8.0.2",
	} {
		s.ip(args)
		if line := testkit.Within(t, c.lines, args); line != want {
			t.Errorf("%s: got %q, want %q", args, line, want)
		}
	}
	s.unrelated(0)
	s.ip("link set eth down")
	line := testkit.Within(t, c.lines, "it is down")
	if line == "2001:db8:7::2 is new" { // among what is of no matter, and a look came before the rest
		line = testkit.Within(t, c.lines, "it is down")
	}
	if want := "10.7.0.2 is gone"; !strings.HasPrefix(line, want) {
		t.Errorf("got %q, want %q", line, want)
	}
}

// TestStandsStill stops a process for longer than it can be without noticing, which for every day
// is less than users have. Its long form counts how often the process wakes before that, while
// nothing happens.
func TestStandsStill(t *testing.T) {
	t.Parallel()
	rest := testenv.OfRun(time.Second, restInterval, restInterval)
	s := newSpace(t) // where nothing changes
	c := startChild(t, "clock", "env", restEnv+"="+rest.String(), "ip", "netns", "exec", s.name)
	if testenv.Full() {
		c.idles(3 * time.Minute)
	}
	_ = c.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(rest + 2*lateStep + time.Second)
	begin := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGCONT)
	if line := c.next(begin, "SIGCONT"); !strings.HasPrefix(line, "the clock has jumped by ") {
		t.Error(line)
	}
}

// idles counts for a while how often the process goes to sleep.
func (c *child) idles(while time.Duration) {
	c.t.Helper()
	time.Sleep(while / 6) // until Go's own work of the start is done
	before := wakes(c.t, c.cmd.Process.Pid)
	time.Sleep(while)
	n := wakes(c.t, c.cmd.Process.Pid) - before
	c.t.Logf("%d threads have gone to sleep in %v", n, while)
	if most := int(while/restInterval+1) * wakesPerLook; n > most {
		c.t.Errorf("%d threads have gone to sleep in %v, want at most %d", n, while, most)
	}
}

// wakesPerLook is how many threads of Go's a timer has wake and sleep again, at most.
const wakesPerLook = 10

// wakes counts how often a process has gone to sleep, in all of its threads.
func wakes(t *testing.T, pid int) (sum int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatal("no threads", err)
	}
	for _, file := range threads {
		status, _ := os.ReadFile(file) // the thread may have ended
		_, rest, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		text, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.Atoi(strings.TrimSpace(text))
		sum += n
	}
	return sum
}
