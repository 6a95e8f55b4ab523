package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/testenv"
)

// from returns this person where sp is started by a script of the shell's, whose arguments are
// the command.
func (u person) from(script string) person {
	u.t.Helper()
	shell, before := testenv.NeedTool(u.t, "sh"), u.through
	u.through = func(cmd *exec.Cmd) {
		if before != nil {
			before(cmd)
		}
		cmd.Args = append([]string{shell, "-ec", script, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = shell
	}
	return u
}

// unshared is a script that does something to a mount namespace of its own first.
func unshared(script string) string {
	return "exec unshare --mount sh -ec '\nmount --make-rprivate /\n" + script + "' sh \"$@\""
}

// readOnlyRoot has nothing be writable.
const readOnlyRoot = `
mount --bind "$HOME" "$HOME"
mount -o remount,bind,ro "$HOME"
mount -o remount,bind,ro /
exec "$@"`

// nobody is the user and the group of those who are nobody.
const nobody = 65534

// emptyRoot has nothing be there but a program and this person's home: no /etc, /tmp, /proc, /dev.
// A program that is dynamic has its libraries, too.
func emptyRoot(binary string) string {
	libraries := ""
	if !isStatic() {
		libraries = "/usr/lib /lib /lib64"
	}
	return fmt.Sprintf(`
root=$HOME/root
mkdir -p $root
mount -t tmpfs -o mode=755 tmpfs $root
mkdir -p $root$HOME $root%[2]s
touch $root%[1]s
mount --bind $HOME $root$HOME
mount --bind %[1]s $root%[1]s
for lib in %[3]s; do
	mkdir -p $root$lib
	mount --bind $lib $root$lib
done
exec chroot --userspec=%[4]d:%[4]d $root "$@"`,
		binary, filepath.Dir(binary), libraries, nobody)
}

// newNamespace makes a network namespace with loopback in it.
func newNamespace(t testing.TB) string {
	t.Helper()
	testenv.NeedNetns(t)
	name := fmt.Sprintf("sp%d-%d", os.Getpid(), networkCount.Add(1))
	ip(t, "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	ip(t, "-n", name, "link", "set", "lo", "up")
	return name
}

// inside runs a script in a network namespace.
func inside(t *testing.T, namespace, script string) {
	t.Helper()
	must(t, exec.Command("ip", "netns", "exec", namespace, "sh", "-ec", script))
}

// controlGroup has each process be in a control group of its own with some limits.
type controlGroup struct {
	dir   string
	enter string // a script
}

// newControlGroup needs a controller of cgroup v2, or else of v1. Limits that this version does
// not have are left out.
func newControlGroup(t testing.TB, controller string, limits map[string]string) controlGroup {
	t.Helper()
	testenv.NeedRoot(t)
	root := controllerRoot(controller)
	if root == "" {
		testenv.Skip(t, "needs a control group for "+controller)
	}
	g := controlGroup{dir: filepath.Join(root, fmt.Sprintf("sp-%d-%d", os.Getpid(),
		networkCount.Add(1)))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		testenv.Skip(t, "needs to make control groups: "+err.Error())
	}
	t.Cleanup(func() { g.remove(t) })
	// Of v2 alone: who is in a group hands controllers on to those below.
	_ = os.WriteFile(filepath.Join(g.dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
	set := ""
	for name, value := range limits {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			set += fmt.Sprintf("echo %s >$group/%s\n", value, name)
		} else if _, err := os.Stat(filepath.Join(g.dir, name)); err == nil {
			set += fmt.Sprintf("echo %s >$group/%s\n", value, name)
		}
	}
	if set == "" {
		testenv.Skip(t, "needs limits of a control group for "+controller)
	}
	g.enter = fmt.Sprintf("group=%s/$$\nmkdir $group\n%secho $$ >$group/cgroup.procs\nexec \"$@\"",
		g.dir, set)
	return g
}

// controllerRoot returns the folder in which groups with a controller can be made, or nothing.
func controllerRoot(controller string) string {
	for _, v2 := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		b, _ := os.ReadFile(v2 + "/cgroup.subtree_control")
		for _, name := range strings.Fields(string(b)) {
			if name == controller {
				return v2
			}
		}
	}
	v1 := "/sys/fs/cgroup/" + controller
	if unix.Access(v1+"/cgroup.procs", unix.W_OK) == nil {
		return v1
	}
	return ""
}

// remove removes a group and those in it, once their processes have ended.
func (g controlGroup) remove(t testing.TB) {
	all, _ := filepath.Glob(g.dir + "/*/cgroup.procs")
	for _, dir := range append(all, g.dir+"/cgroup.procs") {
		eventually(t, "the processes of a control group have ended", func() bool {
			err := os.Remove(filepath.Dir(dir))
			return err == nil || errors.Is(err, fs.ErrNotExist)
		})
	}
}
