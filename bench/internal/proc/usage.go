//go:build linux

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const clockTick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on

// CPU is processor time. Total comes from the kernel's nanosecond clock, User
// (the part outside the kernel) from its 10 ms ticks.
type CPU struct {
	Total, User time.Duration
}

// Sub is the time spent since before.
func (c CPU) Sub(before CPU) CPU {
	return CPU{Total: c.Total - before.Total, User: c.User - before.User}
}

// Memory is resident memory in KiB. PSS counts a page shared by n processes
// as 1/n; it equals RSS where the kernel does not say it.
type Memory struct {
	RSS, PSS int
}

// CPU is the time all processes of the set have used so far, children that
// have ended included.
func (s *Set) CPU() (CPU, error) {
	pids, err := s.tree()
	if err != nil {
		return CPU{}, err
	}
	var sum CPU
	for _, pid := range pids {
		one, err := cpuOf(pid)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EINVAL) {
			continue // ended since; its parent counts it
		}
		if err != nil {
			return CPU{}, err
		}
		sum.Total += one.Total
		sum.User += one.User
	}
	return sum, nil
}

// Memory is what all processes of the set hold now.
func (s *Set) Memory() (Memory, error) {
	pids, err := s.tree()
	if err != nil {
		return Memory{}, err
	}
	var sum Memory
	for _, pid := range pids {
		one, err := memoryOf(pid)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // ended since
		}
		if err != nil {
			return Memory{}, err
		}
		sum.RSS += one.RSS
		sum.PSS += one.PSS
	}
	return sum, nil
}

func cpuOf(pid int) (CPU, error) {
	st, err := readStat(pid)
	if err != nil {
		return CPU{}, err
	}
	running, err := cpuClock(pid)
	if err != nil {
		return CPU{}, fmt.Errorf("cpu clock of %d: %w", pid, err)
	}
	return CPU{
		Total: running + clockTick*time.Duration(st.childUser+st.childSystem),
		User:  clockTick * time.Duration(st.user+st.childUser),
	}, nil
}

// cpuClock reads the CPU-time clock of another process, whose id
// clock_getcpuclockid(3) would make: ^pid<<3 | CPUCLOCK_SCHED.
func cpuClock(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	id := ^int32(pid)<<3 | cpuClockSched
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME,
		uintptr(id), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, errno
	}
	return time.Duration(ts.Nano()), nil
}

func memoryOf(pid int) (Memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if errors.Is(err, os.ErrPermission) {
		return residentOf(pid)
	}
	if err != nil {
		return Memory{}, err
	}
	return parseRollup(data)
}

// residentOf is for processes whose map is not ours to read (an sshd child).
func residentOf(pid int) (Memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return Memory{}, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return Memory{}, fmt.Errorf("statm of %d: %q", pid, data)
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return Memory{}, err
	}
	rss := pages * os.Getpagesize() / 1024
	return Memory{RSS: rss, PSS: rss}, nil
}

func parseRollup(data []byte) (Memory, error) {
	var m Memory
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		var into *int
		switch string(fields[0]) {
		case "Rss:":
			into = &m.RSS
		case "Pss:":
			into = &m.PSS
		default:
			continue
		}
		n, err := strconv.Atoi(string(fields[1]))
		if err != nil {
			return Memory{}, fmt.Errorf("smaps_rollup: %w", err)
		}
		*into = n
	}
	return m, nil
}
