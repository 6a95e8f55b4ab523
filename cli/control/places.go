package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/sorting"
	"github.com/secureportal/sp/internal/userdir"
)

// Where sockets are. Each process has a file of its own, PID-RANDOM.sock, whose name nobody else
// ever has: so whoever finds that nobody listens there may remove it. It gets that name when the
// process listens already, or it would look like one that was left behind:
//
//	.PID-RANDOM, bound and then listening ── renamed ──▶ PID-RANDOM.sock ──▶ removed

var (
	named   = regexp.MustCompile(`^([0-9]+)-[0-9a-f]{8}\.sock$`)
	unnamed = regexp.MustCompile(`^\.([0-9]+)-[0-9a-f]{8}$`)
)

// unnamedTime is how long a socket may take to get its name. It is left behind if it has not then.
const unnamedTime = time.Minute

// folder is where sockets are.
const folder = "sp"

// Process is one that listens.
type Process struct {
	Path string // of its socket
	PID  int    // 0 if the path does not say
}

// Folders returns where this user's sockets may be, the best first: not all are there, and not all
// can be made. A process may have another environment than who looks for it.
func Folders() []string {
	var all []string
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) && isOwn(runtime) {
		all = append(all, filepath.Join(runtime, folder))
	}
	all = append(all, systemFolders()...)
	if state, err := userdir.State(); err == nil {
		all = append(all, filepath.Join(state, folder, "run"))
	}
	var different []string
	for _, f := range all {
		if !slices.Contains(different, f) {
			different = append(different, f)
		}
	}
	return different
}

// Listen makes the socket of this process: at path, or where Find finds it if that is empty. The
// caller has Serve or Close end it.
func Listen(path string) (*Server, error) {
	if path != "" {
		return listenAt(path)
	}
	err := errors.New("there is no folder for it")
	for _, in := range Folders() {
		s, fault := listenIn(in)
		if fault == nil {
			return s, nil
		}
		err = fault
	}
	return nil, err
}

// listenAt listens at a path that somebody has chosen, in place of what has been left behind there.
func listenAt(path string) (*Server, error) {
	if isLeft(path) {
		_ = os.Remove(path)
	}
	l, err := bind(path)
	if err != nil {
		return nil, err
	}
	return newServer(l, path), nil
}

func newServer(l *net.UnixListener, path string) *Server {
	return &Server{socket: l, path: path, handlers: make(map[string]Handler)}
}

// listenIn listens at a name of this process's own in a folder, which it makes.
func listenIn(folder string) (*Server, error) {
	if err := makeOwn(folder); err != nil {
		return nil, err
	}
	tidy(folder)
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%d-%s", os.Getpid(), hex.EncodeToString(random[:]))
	early := filepath.Join(folder, "."+name)
	l, err := bind(early)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, name+".sock")
	if err := os.Rename(early, path); err != nil {
		_ = os.Remove(early)
		_ = l.Close()
		return nil, err
	}
	return newServer(l, path), nil
}

// bind listens at a path, with a file that is its owner's alone. Closing leaves the file.
func bind(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		_ = os.Remove(path)
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// makeOwn makes a folder that is this user's alone, or says why there is none.
func makeOwn(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(folder)
	switch {
	case err != nil:
		return err
	case !info.IsDir() || !isOwn(folder):
		return fmt.Errorf("%s is not a folder of this user's", folder)
	case hasModes && info.Mode().Perm() != 0o700:
		return os.Chmod(folder, 0o700)
	}
	return nil
}

// Find returns this user's processes that listen, in the order of their numbers, and removes the
// sockets of those that have ended.
func Find() []Process {
	var all []Process
	for _, in := range Folders() {
		if isOwn(in) {
			all = append(all, tidy(in)...)
		}
	}
	sorting.Func(all, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), strings.Compare(a.Path, b.Path))
	})
	return all
}

// tidy removes what has been left behind in a folder, and returns the others.
func tidy(folder string) (all []Process) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if m := named.FindStringSubmatch(e.Name()); m != nil {
			if isLeft(path) {
				_ = os.Remove(path)
				continue
			}
			pid, _ := strconv.Atoi(m[1])
			all = append(all, Process{Path: path, PID: pid})
		}
		info, err := e.Info()
		if err == nil && unnamed.MatchString(e.Name()) &&
			time.Since(info.ModTime()) > unnamedTime && isLeft(path) {
			_ = os.Remove(path)
		}
	}
	return all
}

// lookTimeout bounds looking whether somebody listens, who may be busy.
const lookTimeout = time.Second

// isLeft tells whether path is the file of a socket at which nobody listens.
func isLeft(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && refusedMeansGone(path)
}
