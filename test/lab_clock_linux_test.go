package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A program with a clock of its own asks the kernel what time it is, which has a supervisor answer:
// it has lost what would let it find out by itself, the vDSO. The supervisor is this test binary.
// The clock is right until a signal has it jump.

// clockVariable has this test binary supervise the program of its arguments. Its value is how many
// seconds the clock is off at the start.
const clockVariable = "SP_TEST_CLOCK"

// Signals to the supervisor, and by how much the clock jumps.
const (
	jumpAhead     = syscall.SIGUSR1
	jumpBack      = syscall.SIGUSR2
	jumpAheadBy   = 400 * 24 * time.Hour
	jumpBackBy    = 3 * jumpAheadBy
	supervisorBad = 125 // its exit code
)

// withClock returns this person whose processes have clocks that can jump, and that are off.
func (u person) withClock(off time.Duration) person {
	u.t.Helper()
	return u.throughSelf(clockVariable, fmt.Sprint(int64(off/time.Second)))
}

func init() {
	if off := os.Getenv(clockVariable); off != "" {
		code, err := superviseClock(off)
		if err != nil {
			fmt.Fprintln(os.Stderr, "panic: the clock:", err) // which no test overlooks
		}
		os.Exit(code)
	}
}

// superviseClock runs the program of the arguments to its end, and returns its exit code.
func superviseClock(off string) (int, error) {
	seconds, err := strconv.ParseInt(off, 10, 64)
	if err != nil {
		return supervisorBad, err
	}
	_ = os.Unsetenv(clockVariable)
	runtime.LockOSThread() // the filter is this thread's and its children's, and so is ptrace
	listener, err := watchClock()
	if err != nil {
		return supervisorBad, err
	}
	child, err := os.StartProcess(os.Args[1], os.Args[1:], &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return supervisorBad, err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(child.Pid, &status, 0, nil); err != nil {
		return supervisorBad, err
	}
	if err := errors.Join(hideVDSO(child.Pid), unix.PtraceDetach(child.Pid)); err != nil {
		_ = child.Kill()
		return supervisorBad, err
	}
	var ahead atomic.Int64
	ahead.Store(seconds)
	jumps := make(chan os.Signal, 1)
	signal.Notify(jumps, jumpAhead, jumpBack)
	go func() {
		for s := range jumps {
			by := jumpAheadBy
			if s == jumpBack {
				by = -jumpBackBy
			}
			ahead.Add(int64(by / time.Second))
		}
	}()
	go answerClock(listener, &ahead)
	state, err := child.Wait()
	if err != nil {
		return supervisorBad, err
	}
	return state.ExitCode(), nil
}

// watchClock has the kernel ask whoever reads what it returns, where this thread or a child asks
// what time it is.
func watchClock() (listener int, err error) {
	const (
		equal    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		load     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ret      = unix.BPF_RET | unix.BPF_K
		argument = 16 // in seccomp_data
	)
	filter := []unix.SockFilter{
		{Code: load},
		{Code: equal, Jf: 3, K: unix.SYS_CLOCK_GETTIME},
		{Code: load, K: argument},
		{Code: equal, Jf: 1, K: unix.CLOCK_REALTIME},
		{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	fd, _, number := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if number != 0 {
		return 0, number
	}
	unix.CloseOnExec(int(fd))
	return int(fd), nil
}

// hideVDSO takes the vDSO from the auxiliary vector of a process that has just begun: behind the
// arguments and the environment on its stack.
func hideVDSO(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	const startStack = 28 - 3 // proc_pid_stat(5), behind the name
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	at, err := strconv.ParseInt(fields[startStack], 10, 64)
	if err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	word := make([]byte, 8)
	next := func() (v uint64) {
		if err == nil {
			_, err = memory.ReadAt(word, at)
		}
		at += 8
		return binary.NativeEndian.Uint64(word)
	}
	at += 8 * int64(next()+1) // arguments, and their end
	for next() != 0 && err == nil {
	}
	const (
		none    = 0
		ignored = 1
		vdso    = 33
	)
	for {
		switch kind := next(); {
		case err != nil:
			return err
		case kind == none:
			return errors.New("no vDSO")
		case kind == vdso:
			binary.NativeEndian.PutUint64(word, ignored)
			_, err = memory.WriteAt(word, at-8)
			return err
		}
		at += 8
	}
}

// question and reply are seccomp_notif and seccomp_notif_resp.
type question struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	pointer    uint64
	arguments  [6]uint64
}

type reply struct {
	id    uint64
	value int64
	fault int32
	flags uint32
}

// answerClock answers what time it is, for ever.
func answerClock(listener int, ahead *atomic.Int64) {
	for {
		var q question
		if _, _, number := unix.Syscall(unix.SYS_IOCTL, uintptr(listener),
			unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); number != 0 {
			continue // it did not wait for the answer
		}
		now := time.Now()
		b := binary.NativeEndian.AppendUint64(nil, uint64(now.Unix()+ahead.Load()))
		b = binary.NativeEndian.AppendUint64(b, uint64(now.Nanosecond()))
		a := reply{id: q.id}
		memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", q.pid), os.O_WRONLY, 0)
		if err == nil {
			_, err = memory.WriteAt(b, int64(q.arguments[1]))
			_ = memory.Close()
		}
		if err != nil {
			a.fault = -int32(unix.EFAULT)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND,
			uintptr(unsafe.Pointer(&a)))
	}
}
