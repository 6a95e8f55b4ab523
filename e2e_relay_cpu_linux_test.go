package main_test

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// userHZ is the unit of /proc/PID/stat, on every architecture that sp is released for.
const userHZ = 100

// cpuTime returns what a process has used, in its own code and in the kernel's (proc_pid_stat(5)).
func cpuTime(t *testing.T, p *labProcess) (user, system time.Duration) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:])) // the first is the third of the line
	ticks := func(field int) time.Duration {
		n, err := strconv.ParseInt(fields[field-3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n) * time.Second / userHZ
	}
	return ticks(14), ticks(15)
}

// TestRelayCopiesInTheKernel sends 1 GiB through a relay, which reads none of it.
func TestRelayCopiesInTheKernel(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("carries 2 GiB, and the race detector's time is not sp's")
	}
	t.Parallel()
	const (
		size = 1 << 30
		most = 50 * time.Millisecond // of user time for each GiB
	)
	for _, mux := range []bool{false, true} {
		l := newNodes(t)
		m := newMirror(t, size)
		relay, address := l.relay()
		arguments := []string{}
		if mux {
			arguments = append(arguments, "--mux")
		}
		l.registered(address, "db", m.address, arguments...)
		inlet := l.inlet("db@" + address)
		user, system := cpuTime(t, relay)
		if err := m.receive(labDial(t, inlet)); err != nil {
			t.Fatal(err)
		}
		userAfter, systemAfter := cpuTime(t, relay)
		user, system = userAfter-user, systemAfter-system
		t.Logf("mux=%t: %v in the relay, %v in the kernel for it, for 1 GiB", mux, user, system)
		if !mux && user > most {
			t.Errorf("the relay used %v of its own for 1 GiB, more than %v", user, most)
		}
	}
}
