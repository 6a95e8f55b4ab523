package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/secureportal/sp/internal/shellword"
)

// findProgram returns where the program of a command is, or why it cannot be run, as a shell would
// say.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) && runtime.GOOS != "windows" {
		err = nil // whoever has the folder in PATH wants it
	}
	if err != nil {
		return "", cannotRun(name, err)
	}
	return path, nil
}

// cannotRun is the error of a command that was not started.
func cannotRun(name string, err error) error {
	end := &commandEnd{code: exitNotExecutable}
	quoted := shellword.Quote(name)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrDot):
		end.code, end.err = exitNoCommand, fmt.Errorf("%s: no such command", quoted)
		if strings.ContainsAny(name, " \t") {
			return withHint(end, "its words stand apart, -- %s, or a shell takes them: -- sh -c %s",
				name, quoted)
		}
		if errors.Is(err, exec.ErrDot) || strings.ContainsRune(name, os.PathSeparator) {
			return end
		}
		if info, missing := os.Stat(name); missing == nil && !info.IsDir() {
			return withHint(end, "it is in this folder, and the PATH is not: .%c%s", os.PathSeparator, name)
		}
		return withHint(end, "it is in no folder of PATH; what a shell has itself, it runs: -- sh -c …")
	case errors.Is(err, fs.ErrPermission):
		end.err = fmt.Errorf("%s: not executable", quoted)
		return withHint(end, "chmod +x %s, if that is the file you mean", quoted)
	case errors.Is(err, syscall.ENOEXEC):
		end.err = fmt.Errorf("%s: no program, and a script without #! in its first line", quoted)
		return withHint(end, "its interpreter runs it: -- sh %s", quoted)
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	end.err = fmt.Errorf("%s: %w", quoted, err)
	return end
}

// environment is the process's for a program, but for the variables of some flags if it is they
// that have said what these flags do: an sp in the program would take them for its own.
func (c *call) environment(flags ...string) []string {
	all := os.Environ()
	for _, flag := range flags {
		if c.given[flag] == 0 {
			all = withoutVariables(all, variable(flag))
		}
	}
	return all
}

func withoutVariables(environment []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
}

// takeNotifications has this process tell systemd nothing from now on: whether the service is ready
// is for the program to say, which has the environment.
func takeNotifications(environment []string) []string {
	_ = os.Unsetenv("NOTIFY_SOCKET")
	_ = os.Unsetenv("WATCHDOG_USEC")
	return environment
}
