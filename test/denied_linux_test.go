package test

import (
	"errors"
	"fmt"
	"os"
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
	"netlink":              {{unix.SYS_SOCKET, 0, unix.AF_NETLINK}},
	"timerfd":              {{number: unix.SYS_TIMERFD_CREATE}},
	"without waiting": {
		{unix.SYS_RECVFROM, 3, unix.MSG_DONTWAIT},
		{unix.SYS_SENDTO, 3, unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL},
	},
	"affinity": {{number: unix.SYS_SCHED_GETAFFINITY}},
	"limits":   {{number: unix.SYS_PRLIMIT64}, {number: unix.SYS_SETRLIMIT}},
	"statfs":   {{number: unix.SYS_STATFS}, {number: unix.SYS_FSTATFS}},
	"statx":    {{number: unix.SYS_STATX}},
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

// profiles are the system calls that well-known profiles of containers and services do not allow.
var profiles = map[string][]uintptr{
	// Docker's default, without capabilities, and with what older ones did not know. (It answers
	// clone3 with ENOSYS, which the C library needs.)
	"Docker's": {
		unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_BPF, unix.SYS_CHROOT, unix.SYS_CLOCK_SETTIME,
		unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE,
		unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK,
		unix.SYS_GET_MEMPOLICY, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER,
		unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KCMP,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL,
		unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_CREATE_RULESET,
		unix.SYS_LANDLOCK_RESTRICT_SELF, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_LSM_GET_SELF_ATTR,
		unix.SYS_LSM_LIST_MODULES, unix.SYS_LSM_SET_SELF_ATTR, unix.SYS_MBIND,
		unix.SYS_MIGRATE_PAGES, unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT,
		unix.SYS_MOVE_PAGES, unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT,
		unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
		unix.SYS_PTRACE, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_REBOOT,
		unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_SETNS,
		unix.SYS_SETTIMEOFDAY, unix.SYS_SET_MEMPOLICY, unix.SYS_SET_MEMPOLICY_HOME_NODE,
		unix.SYS_STATX, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
		unix.SYS_UNSHARE, unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
	},
	// SystemCallFilter=@system-service of systemd 252.
	"systemd's": {
		unix.SYS_ACCT, unix.SYS_ADJTIMEX, unix.SYS_BPF, unix.SYS_CACHESTAT, unix.SYS_CHROOT,
		unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME, unix.SYS_DELETE_MODULE,
		unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK, unix.SYS_FILE_GETATTR,
		unix.SYS_FILE_SETATTR, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
		unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_FUTEX_REQUEUE, unix.SYS_FUTEX_WAIT,
		unix.SYS_FUTEX_WAKE, unix.SYS_GETXATTRAT, unix.SYS_INIT_MODULE,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_LANDLOCK_ADD_RULE,
		unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_RESTRICT_SELF, unix.SYS_LISTMOUNT,
		unix.SYS_LISTNS, unix.SYS_LISTXATTRAT, unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_LSM_GET_SELF_ATTR, unix.SYS_LSM_LIST_MODULES, unix.SYS_LSM_SET_SELF_ATTR,
		unix.SYS_MAP_SHADOW_STACK, unix.SYS_MEMFD_SECRET, unix.SYS_MINCORE, unix.SYS_MOUNT,
		unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_MSEAL, unix.SYS_NFSSERVCTL,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR,
		unix.SYS_PERF_EVENT_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT,
		unix.SYS_PKEY_ALLOC, unix.SYS_PKEY_FREE, unix.SYS_PKEY_MPROTECT,
		unix.SYS_PROCESS_MRELEASE, unix.SYS_PTRACE, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
		unix.SYS_REBOOT, unix.SYS_REMOVEXATTRAT, unix.SYS_RSEQ_SLICE_YIELD, unix.SYS_SECCOMP,
		unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_SETTIMEOFDAY,
		unix.SYS_SETXATTRAT, unix.SYS_STATMOUNT, unix.SYS_SWAPOFF, unix.SYS_SWAPON,
		unix.SYS_SYSLOG, unix.SYS_UMOUNT2, unix.SYS_VHANGUP,
	},
}

// The calls that no profile knows, because they are newer than it.
const (
	firstUnknown = 472
	lastUnknown  = 520
)

// profile returns what a profile denies, and what it does not know.
func profile(name string) []call {
	var calls []call
	for _, number := range profiles[name] {
		calls = append(calls, call{number: number})
	}
	for number := uintptr(firstUnknown); number <= lastUnknown; number++ {
		calls = append(calls, call{number: number})
	}
	return calls
}

// TestDeniedCalls runs a relay, an outlet and an inlet under filters of the kernel that deny
// optional system calls: all at once with each of the errors that filters give, and each alone, of
// which every day has a few.
func TestDeniedCalls(t *testing.T) {
	type row struct {
		calls []call
		errno syscall.Errno
	}
	rows := make(map[string]row)
	var all []call
	for name, calls := range optional {
		if isLonger() || name == "splice" || name == "socket options" || name == "landlock" {
			rows[name] = row{calls, unix.EPERM}
		}
		all = append(all, calls...)
	}
	for _, errno := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.ENOTTY} {
		rows["all, "+unix.ErrnoName(errno)] = row{all, errno}
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
	return u.throughSelf(deniedVariable, what)
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
