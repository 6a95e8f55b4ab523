package confine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// confinedEnv tells this test's binary, run anew, to confine itself and say what it can do then.
const confinedEnv = "SP_TEST_CONFINED"

// withoutPortsEnv has the system refuse it what is about ports.
const withoutPortsEnv = "SP_TEST_CONFINED_WITHOUT_PORTS"

// denyPortRules has the system refuse Landlock's rules of ports to this process, as one may whose
// filter of system calls knows those of files only.
func denyPortRules() error {
	const (
		rulePort  = 2  // LANDLOCK_RULE_NET_PORT
		ruleType  = 24 // where the second argument is in struct seccomp_data
		denied    = unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)
		load, out = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_RET | unix.BPF_K
		isEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load},
		{Code: isEqual, Jf: 3, K: unix.SYS_LANDLOCK_ADD_RULE},
		{Code: load, K: ruleType},
		{Code: isEqual, Jf: 1, K: rulePort},
		{Code: out, K: denied},
		{Code: out, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if failed != 0 {
		return failed
	}
	return nil
}

func TestMain(m *testing.M) {
	if where := os.Getenv(confinedEnv); where != "" {
		if os.Getenv(withoutPortsEnv) != "" {
			if err := denyPortRules(); err != nil {
				fmt.Println(err)
			}
		}
		confined(strings.Split(where, "|"))
		return
	}
	os.Exit(m.Run())
}

// confined is given a folder to read, one to write, one for neither, an address to connect to, and
// one not to.
func confined(where []string) {
	readable, writable, other, removable := where[0], where[1], where[2], where[3]
	good, bad := where[4], where[5]
	_, text, _ := net.SplitHostPort(good)
	port, _ := net.LookupPort("tcp", text)
	result, err := Process(Needs{
		ReadIn:  []string{readable, "/no/such/folder"},
		WriteIn: []string{writable}, RemoveIn: []string{removable},
		Connect: []uint16{uint16(port)},
	})
	say := func(what string, err error) {
		fmt.Printf("%s: %v\n", what, err == nil)
		if err != nil && !errors.Is(err, syscall.EACCES) {
			fmt.Printf("# %s: %v\n", what, err)
		}
	}
	say("confine", err)
	fmt.Printf("result: %+v\n", result)
	_, err = os.ReadFile(filepath.Join(readable, "file"))
	say("read", err)
	say("write where it is read", os.WriteFile(filepath.Join(readable, "new"), nil, 0o600))
	say("write", os.WriteFile(filepath.Join(writable, "new"), nil, 0o600))
	say("rename", os.Rename(filepath.Join(writable, "new"), filepath.Join(writable, "newer")))
	say("remove", os.Remove(filepath.Join(writable, "newer")))
	_, err = os.ReadFile(filepath.Join(other, "file"))
	say("read elsewhere", err)
	_, err = os.ReadFile(filepath.Join(removable, "file"))
	say("read where it is removed", err)
	say("write there", os.WriteFile(filepath.Join(removable, "new"), nil, 0o600))
	say("remove there", os.Remove(filepath.Join(removable, "file")))
	say("run a program", exec.Command("/bin/true").Run())
	_, err = net.Dial("tcp", good)
	say("connect", err)
	_, err = net.Dial("tcp", bad)
	say("connect elsewhere", err)
	var plain net.ListenConfig
	// Landlock does not know of MPTCP: github.com/landlock-lsm/linux/issues/54
	plain.SetMultipathTCP(false)
	_, err = plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	say("listen", err)
	dumpable, _, _ := syscall.Syscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	fmt.Printf("dumpable: %d\n", dumpable)
	_, err = net.LookupHost("localhost")
	say("names", err)
}

// inConfined runs this test's binary confined, with more in its environment, and returns what it
// says.
func inConfined(t *testing.T, more ...string) string {
	t.Helper()
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < abiPorts {
		t.Skipf("this kernel has no Landlock that knows ports: version %d, %v", abi, err)
	}
	var folders []string
	for range 4 {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, folder)
	}
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		folders = append(folders, l.Addr().String())
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), confinedEnv+"="+strings.Join(folders, "|"))
	cmd.Env = append(cmd.Env, more...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestProcess(t *testing.T) {
	got := inConfined(t)
	want := `confine: true
result: {Files:true Ports:true Undumpable:true}
read: true
write where it is read: false
write: true
rename: true
remove: true
read elsewhere: false
read where it is removed: false
write there: false
remove there: true
run a program: false
connect: true
connect elsewhere: false
listen: false
dumpable: 0
names: true
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Where the system limits files and refuses to limit ports, files are limited, and it is said that
// ports are not.
func TestProcessFilesAlone(t *testing.T) {
	got := inConfined(t, withoutPortsEnv+"=1")
	lines := strings.Split(got, "\n")
	for _, want := range []string{
		"confine: false", "# confine: confine: ports: ",
		"result: {Files:true Ports:false Undumpable:true}", "read: true", "write: true",
		"write where it is read: false", "read elsewhere: false", "run a program: false",
		"connect: true", "connect elsewhere: true", "listen: true", "dumpable: 0", "names: true",
	} {
		says := func(line string) bool { return strings.HasPrefix(line, want) }
		if !slices.ContainsFunc(lines, says) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
}
