package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testenv"
)

// call is a system call that a filter denies: all of it, or where an argument has that value.
type call struct {
	number   uintptr
	argument int // its index; with value 0, all
	value    uint32
}

// Arguments of calls that are needed otherwise.
const (
	optionAt = 2 // of setsockopt and getsockopt
	mptcp    = 262
)

// optional are the system calls without which sp works, by name.
var optional = map[string][]call{
	"splice": {{number: unix.SYS_SPLICE}, {number: unix.SYS_TEE}, {number: unix.SYS_VMSPLICE}},
	"pipe2":  {{number: unix.SYS_PIPE2}},
	"pipe size": {
		{unix.SYS_FCNTL, 1, unix.F_SETPIPE_SZ},
	},
	"readv": {{number: unix.SYS_READV}}, "writev": {{number: unix.SYS_WRITEV}},
	"ioctl": {{number: unix.SYS_IOCTL}},
	"peek":  {{unix.SYS_RECVFROM, 3, unix.MSG_PEEK | unix.MSG_DONTWAIT}},
	"socket options": {
		{unix.SYS_SETSOCKOPT, optionAt, unix.TCP_KEEPIDLE}, // 4, also IP's and SO_ERROR
		{unix.SYS_SETSOCKOPT, optionAt, unix.TCP_KEEPINTVL},
		{unix.SYS_SETSOCKOPT, optionAt, unix.SO_KEEPALIVE},
		{unix.SYS_SETSOCKOPT, optionAt, unix.SO_LINGER},
		{unix.SYS_SETSOCKOPT, optionAt, unix.SO_OOBINLINE},
		{unix.SYS_SETSOCKOPT, optionAt, unix.TCP_NODELAY},
	},
	"TCP_INFO": {{unix.SYS_GETSOCKOPT, optionAt, unix.TCP_INFO}},
	"landlock": {
		{number: unix.SYS_LANDLOCK_CREATE_RULESET},
		{number: unix.SYS_LANDLOCK_ADD_RULE},
		{number: unix.SYS_LANDLOCK_RESTRICT_SELF},
	},
	"landlock's last step": {{number: unix.SYS_LANDLOCK_RESTRICT_SELF}},
	"prctl":                {{number: unix.SYS_PRCTL}},
	"inotify":              {{number: unix.SYS_INOTIFY_INIT1}, {number: unix.SYS_INOTIFY_ADD_WATCH}},
	"affinity":             {{number: unix.SYS_SCHED_GETAFFINITY}},
	"limits":               {{number: unix.SYS_PRLIMIT64}, {number: unix.SYS_SETRLIMIT}},
	"statfs":               {{number: unix.SYS_STATFS}, {number: unix.SYS_FSTATFS}},
	"statx":                {{number: unix.SYS_STATX}},
	"memory": {
		{number: unix.SYS_MLOCK}, {number: unix.SYS_MLOCKALL}, {number: unix.SYS_MINCORE},
	},
	"processes": {{number: unix.SYS_PIDFD_OPEN}, {number: unix.SYS_PIDFD_SEND_SIGNAL}},
	"files":     {{number: unix.SYS_COPY_FILE_RANGE}, {number: unix.SYS_SENDFILE}},
	"MPTCP":     {{unix.SYS_SOCKET, 2, mptcp}},
	"new calls": {
		{number: unix.SYS_CLOSE_RANGE},
		{number: unix.SYS_OPENAT2},
		{number: unix.SYS_FACCESSAT2},
		{number: unix.SYS_EPOLL_PWAIT2},
		{number: unix.SYS_IO_URING_SETUP},
		{number: unix.SYS_RSEQ},
	},
}

// profiles are what well-known profiles deny of what a program like this one might try.
var profiles = map[string][]call{
	// moby/profiles/seccomp, default.json, without capabilities.
	"Docker's": {
		{number: unix.SYS_BPF},
		{number: unix.SYS_FANOTIFY_INIT},
		{number: unix.SYS_FSOPEN},
		{number: unix.SYS_IO_URING_SETUP},
		{number: unix.SYS_KCMP},
		{number: unix.SYS_KEYCTL},
		{number: unix.SYS_MOUNT},
		{number: unix.SYS_PERF_EVENT_OPEN},
		{number: unix.SYS_PIDFD_GETFD},
		{number: unix.SYS_PROCESS_VM_READV},
		{number: unix.SYS_PTRACE},
		{number: unix.SYS_QUOTACTL},
		{number: unix.SYS_SETNS},
		{number: unix.SYS_SYSLOG},
		{number: unix.SYS_UMOUNT2},
		{number: unix.SYS_UNSHARE},
		{number: unix.SYS_USERFAULTFD},
		{number: unix.SYS_VMSPLICE},
		{number: unix.SYS_LANDLOCK_CREATE_RULESET},
		{number: unix.SYS_LANDLOCK_ADD_RULE},
		{number: unix.SYS_LANDLOCK_RESTRICT_SELF},
		{number: unix.SYS_STATX},
	},
	// systemd's @system-service, with what its groups leave out.
	"systemd's": {
		{number: unix.SYS_ADJTIMEX},
		{number: unix.SYS_BPF},
		{number: unix.SYS_CHROOT},
		{number: unix.SYS_CLOCK_SETTIME},
		{number: unix.SYS_DELETE_MODULE},
		{number: unix.SYS_FANOTIFY_INIT},
		{number: unix.SYS_KCMP},
		{number: unix.SYS_KEXEC_LOAD},
		{number: unix.SYS_MOUNT},
		{number: unix.SYS_PERF_EVENT_OPEN},
		{number: unix.SYS_PTRACE},
		{number: unix.SYS_PIDFD_GETFD},
		{number: unix.SYS_PROCESS_VM_READV},
		{number: unix.SYS_QUOTACTL},
		{number: unix.SYS_REBOOT},
		{number: unix.SYS_SETNS},
		{number: unix.SYS_SWAPON},
		{number: unix.SYS_SYSLOG},
		{number: unix.SYS_UMOUNT2},
		{number: unix.SYS_USERFAULTFD},
		{number: unix.SYS_VHANGUP},
		{number: unix.SYS_LANDLOCK_CREATE_RULESET},
		{number: unix.SYS_LANDLOCK_ADD_RULE},
		{number: unix.SYS_LANDLOCK_RESTRICT_SELF},
	},
}

// TestDeniedCalls runs a relay, an outlet and an inlet under filters of the kernel that deny
// optional system calls: each alone, all at once with each of the errors that filters give, and
// those of well-known profiles.
func TestDeniedCalls(t *testing.T) {
	type row struct {
		calls []call
		errno syscall.Errno
	}
	rows := make(map[string]row)
	var all []call
	for name, calls := range optional {
		rows[name] = row{calls, unix.EPERM}
		all = append(all, calls...)
	}
	for _, errno := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.ENOTTY} {
		rows["all, "+unix.ErrnoName(errno)] = row{all, errno}
	}
	for name, calls := range profiles {
		rows[name] = row{calls, unix.EPERM}
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			me := newPerson(t).denied(r.errno, r.calls)
			m := newMirror(t, 300_000)
			w := newTopology(t, plan{who: me, relay: true, target: m.address, inlets: 1})
			for range 3 {
				if err := m.once(w.address); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// deniedVariable has this test binary install a filter, and run what its arguments say.
const deniedVariable = "SP_TEST_DENIED"

// denied returns this person on a machine whose kernel denies calls with errno.
func (u person) denied(errno syscall.Errno, calls []call) person {
	u.t.Helper()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		testenv.Skip(u.t, "a filter takes a little-endian machine")
	}
	what := strconv.Itoa(int(errno))
	for _, c := range calls {
		what += fmt.Sprintf(" %d,%d,%d", c.number, c.argument, c.value)
	}
	self, err := os.Executable()
	if err != nil {
		u.t.Fatal(err)
	}
	u.through = func(cmd *exec.Cmd) {
		cmd.Args = append([]string{self, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = self
		cmd.Env = append(cmd.Env, deniedVariable+"="+what)
	}
	return u
}

func init() {
	if what := os.Getenv(deniedVariable); what != "" {
		fatal(runDenied(strings.Fields(what)))
	}
}

// runDenied denies this process what the words say, and becomes the program of its arguments.
func runDenied(words []string) error {
	errno, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for _, word := range words[1:] {
		var c call
		if _, err := fmt.Sscanf(word, "%d,%d,%d", &c.number, &c.argument, &c.value); err != nil {
			return err
		}
		filter = append(filter, c.filter(uint32(errno))...)
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread() // the filter is this thread's, until it becomes the whole process
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, number := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
		uintptr(unsafe.Pointer(&program)))
	if number != 0 {
		return errors.Join(errors.New("seccomp"), number)
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, deniedVariable)
	})
	return syscall.Exec(os.Args[1], os.Args[1:], env)
}

// filter returns what denies c, as part of a filter that has the call's number loaded.
func (c call) filter(errno uint32) []unix.SockFilter {
	const (
		equal     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		arguments = 16 // in seccomp_data, 8 bytes each
	)
	deny := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	if c.value == 0 {
		return []unix.SockFilter{{Code: equal, Jf: 1, K: uint32(c.number)}, deny}
	}
	return []unix.SockFilter{
		{Code: equal, Jf: 4, K: uint32(c.number)},
		load(arguments + 8*uint32(c.argument)),
		{Code: equal, Jf: 1, K: c.value},
		deny,
		load(0),
	}
}
