package atomicfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// checkPrivateIn is the variable by which TestHandedOver has itself look at a file as another.
const checkPrivateIn = "SP_TEST_CHECK_PRIVATE"

// TestHandedOver has a key of root's that a group may read be used by whom it is handed to, as
// Kubernetes does with fsGroup, and by nobody else.
func TestHandedOver(t *testing.T) {
	if path := os.Getenv(checkPrivateIn); path != "" {
		info, err := os.Stat(path)
		if err == nil {
			err = CheckPrivate(path, info)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away, and becomes others")
	}
	const nobody, group, other = 65534, 2000, 2001
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		mode   os.FileMode
		gid    int
		uid    uint32
		groups []uint32
		fine   bool
	}{
		"fsGroup":                  {0o440, group, nobody, []uint32{group}, true},
		"fsGroup, and a container": {0o440, group, 0, []uint32{0, group}, true},
		"by its owner too":         {0o640, group, nobody, []uint32{other, group}, true},
		"systemd":                  {0o440, 0, nobody, nil, true},
		"another group":            {0o440, group, nobody, []uint32{other}, false},
		"root without it":          {0o440, group, 0, []uint32{0}, false},
		"root's group, to root":    {0o440, 0, 0, []uint32{0}, false},
		"writable by the group":    {0o460, group, nobody, []uint32{group}, false},
		"readable by all":          {0o444, group, nobody, []uint32{group}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "key")
			for _, err := range []error{
				os.Chmod(filepath.Dir(dir), 0o755), os.WriteFile(path, nil, 0o600),
				os.Chown(path, 0, row.gid), os.Chmod(path, row.mode),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestHandedOver$")
			program, err := os.Open(self) // which others cannot reach by its path
			if err != nil {
				t.Fatal(err)
			}
			defer program.Close()
			cmd.ExtraFiles = []*os.File{program}
			cmd.Dir, cmd.Env = "/", append(os.Environ(), checkPrivateIn+"="+path)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
				Uid: row.uid, Gid: row.uid, Groups: row.groups,
			}}
			out, err := cmd.CombinedOutput()
			if (err == nil) != row.fine {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
