package test

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// environments are places where people run programs, by what is particular there: containers,
// services, scripts, small machines.
var environments = map[string]func(*testing.T){
	"Docker's seccomp, EPERM":      filtered("Docker's", unix.EPERM),
	"Docker's seccomp, ENOSYS":     filtered("Docker's", unix.ENOSYS),
	"@system-service, EPERM":       filtered("systemd's", unix.EPERM),
	"@system-service, ENOSYS":      filtered("systemd's", unix.ENOSYS),
	"no HOME":                      noHome,
	"read-only root":               readOnly,
	"empty root, no user":          rootOfNobody,
	"no IPv6":                      noIPv6,
	"no IPv6 in the kernel":        noIPv6InKernel,
	"IPv6 zones":                   zones,
	"memory of a control group":    limitedMemory,
	"processor of a control group": limitedProcessor,
	"one core":                     startedBy(`exec taskset -c 0 "$@"`, "taskset"),
	"256 descriptors":              descriptors256,
	"little address space":         littleAddressSpace,
	"inetd and Accept=yes":         superServer,
	"shared stdio":                 stdioOfShell,
	"background job":               ignoring(`"$@" & wait $!`, syscall.SIGINT, syscall.SIGQUIT),
	"nohup":                        ignoring(`exec nohup "$@"`, syscall.SIGHUP),
	"setsid":                       startedBy(`exec setsid --wait "$@"`, "setsid"),
	"stdin and stderr are closed":  startedBy(`exec "$@" <&- 2>&-`),
	"umask 0":                      startedBy(`umask 0; exec "$@"`),
	"a folder that is gone":        startedBy(`cd $(mktemp -d); rmdir $PWD; exec "$@"`),
	"clocks that differ":           otherClocks,
	"clocks that jump":             jumps,
	"clocks of 1970":               wrongClock,
	"all asleep":                   asleep,
	"inlet asleep":                 inletAsleep,
}

// TestEnvironment has a relay, an outlet and an inlet run in each environment. Bytes go both ways,
// beyond an end, what is particular there is looked at, and each role ends with 0 when it is told
// to stop.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for name, live := range environments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t)
		})
	}
}

// startedBy is a site whose processes are started by a script, which takes some tools.
func startedBy(script string, tools ...string) func(*testing.T) {
	return func(t *testing.T) {
		for _, tool := range tools {
			testenv.NeedTool(t, tool)
		}
		site{who: newPerson(t).from(script)}.lived(t)
	}
}

// ignoring is startedBy, and the processes ignore signals that they get.
func ignoring(script string, signals ...syscall.Signal) func(*testing.T) {
	return func(t *testing.T) {
		s := site{who: newPerson(t).from(script)}.begin(t)
		for _, p := range s.processes {
			for _, signal := range signals {
				p.signalRole(signal)
			}
		}
		s.carries()
		s.end()
	}
}

// filtered has the kernel refuse what a profile does not allow.
func filtered(by string, errno syscall.Errno) func(*testing.T) {
	return func(t *testing.T) { site{who: newPerson(t).denied(errno, profile(by))}.lived(t) }
}

// noHome has no place for an identity, unless one is named.
func noHome(t *testing.T) {
	u := newPerson(t)
	key, _ := u.identity("named")
	there := u.from(`exec env -i "$@"`)
	r := there.run("outlet", "--listen", anywhere, "--target", anywhere)
	if r.code != 1 || !strings.Contains(r.stderr, "--identity") {
		t.Errorf("exit code %d, and it is to say what to set: %s", r.code, r.stderr)
	}
	site{who: there, flags: []string{"--identity", key}}.lived(t)
}

// readOnly has nothing that can be written. An identity has to be there.
func readOnly(t *testing.T) {
	testenv.NeedNetns(t)
	u := newPerson(t)
	there := u.from(unshared(readOnlyRoot))
	there.fails(1, "read-only file system", "outlet", "--listen", anywhere, "--target", anywhere)
	u.identifier() // are made
	u.relayIdentifier()
	site{who: there}.lived(t)
}

// rootOfNobody is a container of which nobody has thought: no /etc/passwd, no /etc/hosts, no /tmp,
// no /proc, and a user who is nobody.
func rootOfNobody(t *testing.T) {
	testenv.NeedNetns(t)
	u := newPerson(t)
	u.identifier() // are made
	u.relayIdentifier()
	must(t, exec.Command("chown", "-R", fmt.Sprint(nobody, ":", nobody), u.home))
	at := testkit.Address(t)
	_, port, _ := strings.Cut(at, ":")
	site{who: u.from(unshared(emptyRoot(u.binary))), at: at, near: "localhost:" + port}.lived(t)
}

func noIPv6(t *testing.T) {
	space := newNamespace(t)
	inside(t, space, "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$f; done")
	site{who: newPerson(t).in(space), at: ":4000", near: "localhost:4000"}.lived(t)
}

// noIPv6InKernel is what ipv6.disable=1 does: there are no such sockets.
func noIPv6InKernel(t *testing.T) {
	u := newPerson(t).denied(unix.EAFNOSUPPORT, []call{{unix.SYS_SOCKET, 0, unix.AF_INET6}})
	_, port, _ := strings.Cut(testkit.Address(t), ":")
	site{who: u, at: ":" + port, near: "localhost:" + port}.lived(t)
}

// zones has no IPv4, and addresses that mean something only on a line: on both lines the relay's is
// the same.
func zones(t *testing.T) {
	n, u := newNetworks(t), newPerson(t)
	for _, end := range []struct{ namespace, device, address string }{
		{n.middle, "left", "fe80::1/64"},
		{n.near, "eth", "fe80::2/64"},
		{n.middle, "right", "fe80::1/64"},
		{n.far, "eth", "fe80::2/64"},
	} {
		ip(t, "-n", end.namespace, "-4", "address", "flush", "dev", end.device)
		ip(t, "-n", end.namespace, "address", "add", end.address, "dev", end.device, "nodad")
	}
	site{
		who: u.in(n.middle), inlet: u.in(n.near), outlet: u.in(n.far),
		at: ":4000", near: "[fe80::1%eth]:4000",
	}.lived(t)
}

// stalledOfGroup is how many connections are open that nobody reads.
const stalledOfGroup = 40

// limitedMemory has the kernel end whoever takes more than that. Many who do not read stay within.
func limitedMemory(t *testing.T) {
	limit := 64 << 20
	if raceDetector {
		limit *= 8 // which keeps a shadow of all memory
	}
	g := newControlGroup(t, "memory", map[string]string{
		"memory.limit_in_bytes": strconv.Itoa(limit), "memory.max": strconv.Itoa(limit),
	})
	s := site{who: newPerson(t).from(g.enter), size: 4 << 20}.begin(t)
	var stalled []conn
	for range stalledOfGroup {
		c := dial(t, s.address)
		send(t, c, string(askSend))
		stalled = append(stalled, c)
	}
	s.carries()
	for _, c := range stalled {
		abandon(c)
	}
	s.end()
}

// limitedProcessor has each process compute for a third of the time.
func limitedProcessor(t *testing.T) {
	g := newControlGroup(t, "cpu", map[string]string{
		"cpu.cfs_quota_us": "33000", "cpu.max": `"33000 100000"`,
	})
	site{who: newPerson(t).from(g.enter)}.lived(t)
}

// descriptors256 has more clients come than there are descriptors for.
func descriptors256(t *testing.T) {
	s := site{who: newPerson(t).withFewFiles()}.begin(t)
	var flood []conn
	for range fewFiles {
		if c, err := dialWhere(s.address); err == nil {
			flood = append(flood, c)
		}
	}
	for _, c := range flood {
		_ = c.Close()
	}
	eventually(t, "it serves again", func() bool { return s.mirror.once(s.address) == nil })
	s.end()
}

// littleAddressSpace is what ulimit -v leaves.
func littleAddressSpace(t *testing.T) {
	switch {
	case raceDetector: // its shadow has a place that is far away
		startedBy(`ulimit -s 256; exec "$@"`)(t)
	case isStatic():
		startedBy(`ulimit -v 1048576; ulimit -s 256; exec "$@"`)(t)
	default: // C's malloc sets 64 MiB apart for each thread
		startedBy(`ulimit -v 4194304; ulimit -s 256; exec "$@"`)(t)
	}
}

// superServer has an inlet's stdin and stdout, or its stderr as well, be one socket.
func superServer(t *testing.T) {
	s := site{who: newPerson(t)}.begin(t)
	for _, network := range []string{"tcp", "unix"} {
		for _, stderr := range []bool{false, true} {
			p, c := s.oneSocketFor(network, stderr, s.command("inlet", "--listen", "-", "--to", s.to))
			if err := s.mirror.both(c); err != nil {
				t.Error(network, err)
			}
			p.ends(done)
		}
	}
	s.end()
}

// stdioOfShell has an inlet share stdin and stdout with a shell, which goes on with both.
func stdioOfShell(t *testing.T) {
	s := site{who: newPerson(t)}.begin(t)
	cmd := s.program("sh", "-c", `echo before; echo chello | "$@"; echo after; cat`,
		"sh", s.binary, "inlet", "--listen", "-", "--to", s.to)
	cmd.Stdin = strings.NewReader("rest\n")
	if out := string(must(t, cmd)); out != "before\nhello\nafter\nrest\n" {
		t.Errorf("%q", out)
	}
	s.end()
}

// Of those who sleep: how often sessions look whether their peer lives, and how many times as long
// a sleep lasts, which is longer than they would wait for an answer.
const (
	asleepKeepalive = 500 * time.Millisecond
	asleepTimes     = 6
)

// asleep has all processes be suspended, as those of a machine whose lid is closed: what is open
// stays so.
func asleep(t *testing.T) {
	s, c, while := beforeSleep(t)
	s.sleep(while, s.processes...)
	send(t, c, "after")
	receives(t, c, "after")
	_ = c.Close()
	s.carries()
	s.end()
}

// inletAsleep has one machine sleep, for so long that the other end gives up what was open. That
// is reset, and whoever comes is served, also before it is known.
func inletAsleep(t *testing.T) {
	s, c, while := beforeSleep(t)
	s.sleep(while, s.processes[2])
	s.carries()
	receivesReset(t, c)
	s.carries()
	s.end()
}

// beforeSleep begins a site, opens a connection, and says how long to sleep.
func beforeSleep(t *testing.T) (s *visit, c conn, while time.Duration) {
	t.Helper()
	keepalive := unhurried(asleepKeepalive)
	s = site{who: newPerson(t), flags: []string{"--keepalive", keepalive.String()}}.begin(t)
	c = dial(t, s.address)
	send(t, c, string(askEcho)+"before")
	receives(t, c, "before")
	return s, c, asleepTimes * keepalive
}

// sleep suspends some processes for a while.
func (s *visit) sleep(while time.Duration, sleepers ...*process) {
	for _, p := range sleepers {
		p.signal(syscall.SIGSTOP)
	}
	<-time.After(while)
	for _, p := range sleepers {
		p.signal(syscall.SIGCONT)
	}
}

// otherClocks has processes disagree about how long their machine has been up, by days or weeks.
func otherClocks(t *testing.T) {
	testenv.NeedRoot(t)
	// The kernel takes no more than a century and a half, and there may be millions of processes.
	const own = `exec unshare --time --monotonic $(($$ % 30000 + 1))00000 "$@"`
	startedBy(own, "unshare")(t)
}

// jumps has the clocks of all processes jump ahead, and further back, while connections are open.
// Somebody whose clock is right still gets a session.
func jumps(t *testing.T) {
	right := newPerson(t)
	s := site{who: right.withClock(0)}.begin(t)
	c := dial(t, s.address)
	send(t, c, string(askEcho)+"before")
	receives(t, c, "before")
	for _, jump := range []syscall.Signal{jumpAhead, jumpBack} {
		for _, p := range s.processes {
			p.signal(jump)
		}
		send(t, c, "after")
		receives(t, c, "after")
		s.carries()
		right.must("ping", "-c", "1", "--to", s.to)
	}
	_ = c.Close()
	s.end()
	s.endedIn(time.Now().Add(jumpAheadBy - jumpBackBy))
}

// wrongClock begins in 1970, as a small machine does that has not been told what time it is, with
// keys that are from later.
func wrongClock(t *testing.T) {
	u := newPerson(t)
	u.identifier() // are made
	u.relayIdentifier()
	then := time.Unix(1000, 0)
	s := site{who: u.withClock(-time.Since(then))}.begin(t)
	s.carries()
	s.end()
	s.endedIn(then)
}
