package control

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

const callerEnv = "SP_TEST_CALL"

func TestMain(m *testing.M) {
	if path := os.Getenv(callerEnv); path != "" {
		call(path)
		return
	}
	os.Exit(m.Run())
}

// call says what comes of a call.
func call(path string) {
	c, err := net.Dial("unix", path)
	if err != nil {
		os.Stdout.WriteString(err.Error())
		return
	}
	_, _ = c.Write([]byte(`{"command":"echo","args":"hello"}`))
	b := make([]byte, 100)
	n, _ := c.Read(b)
	os.Stdout.Write(b[:n])
}

// TestOthers has whoever is another user be told nothing, even where the files let him connect.
func TestOthers(t *testing.T) {
	testenv.NeedRoot(t)
	in := ownFolder(t)
	s, _ := serve(t, "")
	for _, path := range []string{in, in + "/" + folder, s.Path()} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := in + "/caller"
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(program, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []uint32{0, 12345} {
		cmd := exec.Command(program)
		cmd.Env, cmd.Dir = []string{callerEnv + "=" + s.Path()}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if answered := strings.Contains(string(out), "hello"); answered != (user == 0) {
			t.Errorf("user %d is told %q", user, out)
		}
	}
}
