package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// bytesRead returns how many bytes a process has had copied to it by read(2) and the like: what it splices is not among
// them (proc_pid_io(5)).
func bytesRead(t *testing.T, p *labProcess) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/io")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(b[strings.Index(string(b), "rchar:"):]), "rchar: %d", &n); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
	return n
}

// TestRelayCopiesInTheKernel sends data through a relay, which reads none of it: it is spliced. In a mux it has to be
// read.
func TestRelayCopiesInTheKernel(t *testing.T) {
	t.Parallel()
	const (
		size = 64 << 20
		most = 1 << 20 // of handshakes, pings and what is small
	)
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprint("mux=", mux), func(t *testing.T) {
			t.Parallel()
			l := newNodes(t)
			m := newMirror(t, size)
			relay, address := l.relay()
			var flags []string
			if mux {
				flags = append(flags, "--mux")
			}
			l.registered(address, "db", m.address, flags...)
			inlet := l.inlet("db@" + address)
			before := bytesRead(t, relay)
			if err := m.receive(labDial(t, inlet)); err != nil {
				t.Fatal(err)
			}
			read := bytesRead(t, relay) - before
			if read > most && !mux || read < size && mux {
				t.Errorf("the relay read %d bytes of %d", read, size)
			}
		})
	}
}
