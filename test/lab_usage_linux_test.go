package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// usage is what a process has taken of the system.
type usage struct {
	rss, peak   int64 // KiB in memory now, and the most since resetPeak
	descriptors int
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB, %d descriptors", float64(u.rss)/1024, u.descriptors)
}

// use returns what a process uses.
func (p *process) use() usage {
	p.t.Helper()
	return usageOf(p.t, p.cmd.Process.Pid)
}

// usageOf reads proc_pid_status(5).
func usageOf(t testing.TB, pid int) usage {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob(dir + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	u := usage{descriptors: len(fds)}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			u.rss = kib
		case "VmHWM":
			u.peak = kib
		}
	}
	return u
}

// resetPeak begins a new peak (proc_pid_clear_refs(5)).
func (p *process) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// freeze stops a process without ending it: its machine answers for its connections, and nobody for
// it.
func (p *process) freeze() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
}

// connectedTo counts a process's TCP connections to an address that neither side has closed
// (proc_pid_net(5)).
func (p *process) connectedTo(address string) int {
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

// bytesRead returns how many bytes a process has had copied to it by read(2) and the like: what it
// splices is not among them (proc_pid_io(5)).
func (p *process) bytesRead() int64 {
	p.t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/io")
	if err != nil {
		p.t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(b[strings.Index(string(b), "rchar:"):]), "rchar: %d",
		&n); err != nil {
		p.t.Fatalf("%v in %q", err, b)
	}
	return n
}
