package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freeze stops a process without ending it: its machine answers for its connections, and nobody for it.
func (p *labProcess) freeze() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
}

// connectedTo counts a process's TCP connections to an address that neither side has closed (proc_pid_net(5)).
func (p *labProcess) connectedTo(address string) int {
	p.t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	inodes := make(map[string]bool)
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
			inodes[strings.Trim(target, "socket:[]")] = true
		}
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		p.t.Fatal(err)
	}
	port, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	if err != nil {
		p.t.Fatal(err)
	}
	const (
		remote, state, inode = 2, 3, 9
		established          = "01"
	)
	suffix, n := fmt.Sprintf(":%04X", port), 0
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) <= inode || fields[state] != established {
			continue
		}
		if strings.HasSuffix(fields[remote], suffix) && inodes[fields[inode]] {
			n++
		}
	}
	return n
}

// TestTakeover has an outlet come back while its old process hangs: the name is its own at once.
func TestTakeover(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	relay, address := l.relay()
	old := l.registered(address, "db", labNamed(t, "1"))
	inlet := l.inlet("db@" + address)
	reaches(t, inlet, "1")

	eventually(t, "spare links of the old outlet", func() bool { return old.connectedTo(address) >= 3 })
	before := old.connectedTo(address)
	old.freeze()
	began := time.Now()
	l.registered(address, "db", labNamed(t, "2"))
	fresh := l.inlet("db@" + address)
	reaches(t, fresh, "2")
	took := time.Since(began)
	if took > 5*time.Second {
		t.Errorf("it took %v to take the name over", took)
	}
	relay.says("outlet gone", 1)
	// What is left is the session itself, until its pings tell, and the connection that is in use.
	eventually(t, "the old registration's connections are closed", func() bool { return old.connectedTo(address) <= 3 })
	t.Logf("taken over in %v; the old outlet had %d connections to the relay and has %d", took, before, old.connectedTo(address))
}

// TestDeadRegistration has an outlet hang, and its name go within 15 s.
func TestDeadRegistration(t *testing.T) {
	t.Parallel()
	const (
		within = 15 * time.Second
		grace  = time.Second // for this machine to get round to it
	)
	l := newNodes(t)
	relay, address := l.relay("--keepalive", ofFull("1s", "5s")) // 5 s is the default
	outlet := l.registered(address, "db", labNamed(t, "1"))
	reaches(t, l.inlet("db@"+address), "1")

	outlet.freeze()
	began := time.Now()
	relay.saysWithin(within+grace, "outlet gone", 1)
	t.Logf("gone after %v", time.Since(began))
	l.fails(3, "no outlet named db", "inlet", "--no-wait", "--listen", "127.0.0.1:0", "--to", "db@"+address)
}
