// Package handed is for sockets that another program has made for this one to listen at, and has
// handed to it as open descriptors: systemd's socket units, systemd-socket-activate, or whatever
// else starts programs.
//
// Take is called once, when the process starts. A socket stays open when who listens at it stops,
// so that he can begin again, until Close. The package is safe for concurrent use.
package handed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
)

// First is the first descriptor that can be handed: those before it are the standard streams.
const First = 3

// MaxName is how many bytes the name of a socket of systemd's has at most.
const MaxName = 255

// descriptors are what this process knows to have been handed.
var descriptors struct {
	sync.Mutex
	taken  bool
	owner  string // whom what the environment tells of is for, if that is not this process
	closed bool
	all    []*descriptor
}

type descriptor struct {
	number int
	name   string // "" for one of which only the number is known
	file   *os.File
	user   string // who listens at it; "" for nobody
}

// Take takes note of what systemd has handed to this process, keeps it from children, and takes the
// variables that tell of it out of the environment. A second call does nothing.
func Take() {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
}

func takeLocked() {
	if descriptors.taken {
		return
	}
	descriptors.taken = true
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		descriptors.owner = pid
	}
	for i, f := range activation.Files(true) {
		descriptors.all = append(descriptors.all, &descriptor{
			number: First + i, name: f.Name(), file: f,
		})
	}
	_ = os.Unsetenv("LISTEN_PIDFDID") // of systemd 259, which the library does not know
}

// ErrNone says that nothing was handed to this process.
var ErrNone = errors.New("nothing was handed to this process")

// ErrUsed says that somebody in this process listens already.
var ErrUsed = errors.New("one at which somebody listens already")

// Unused returns what was handed to this process to listen at, and nobody listens at.
func Unused() (all []string) {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
	for _, d := range descriptors.all {
		if d.user == "" && d.name != "" && check(d.number) == nil {
			all = append(all, d.name)
		}
	}
	return all
}

// Number returns a listener at the socket that is descriptor n. Another one of this process may
// not listen at it; user says who does. Who listens closes the listener.
func Number(n int, user string) (net.Listener, error) {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
	d, err := byNumberLocked(n)
	if err != nil {
		return nil, err
	}
	return d.listenLocked(user)
}

// Named returns listeners at all sockets of a name, as Number does.
func Named(name, user string) (all []net.Listener, err error) {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
	found, err := byNameLocked(name)
	for _, d := range found {
		l, err := d.listenLocked(user)
		if err != nil {
			for _, other := range all {
				_ = other.(*listener).closeLocked()
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, err
}

// CheckNumber tells why nobody can listen at descriptor n, or returns nil.
func CheckNumber(n int) error {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
	_, err := byNumberLocked(n)
	return err
}

// CheckNamed tells why nobody can listen at the sockets of a name, or returns nil.
func CheckNamed(name string) error {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
	_, err := byNameLocked(name)
	return err
}

// Close closes all of it: from now on this process is not among those to whom connections come.
func Close() {
	descriptors.Lock()
	defer descriptors.Unlock()
	takeLocked()
	descriptors.closed = true
	for _, d := range descriptors.all {
		_ = d.file.Close()
	}
	descriptors.all = nil
}

func byNumberLocked(n int) (*descriptor, error) {
	for _, d := range descriptors.all {
		if d.number == n {
			return d, checked(d)
		}
	}
	switch {
	case n < First:
		return nil, fmt.Errorf("0, 1 and 2 are stdin, stdout and stderr; what is handed begins with %d",
			First)
	case descriptors.closed:
		return nil, net.ErrClosed
	}
	file, err := inherited(n)
	if err != nil {
		return nil, err
	}
	d := &descriptor{number: n, file: file}
	if err := checked(d); err != nil {
		return nil, err // and the file is left alone: it is open in this process for ever
	}
	descriptors.all = append(descriptors.all, d)
	return d, nil
}

func byNameLocked(name string) (found []*descriptor, err error) {
	var names []string
	for _, d := range descriptors.all {
		switch {
		case d.name == "": // it came without systemd
		case d.name != name:
			names = append(names, d.name)
		default:
			if err := checked(d); err != nil {
				return nil, err
			}
			found = append(found, d)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case descriptors.closed:
		return nil, net.ErrClosed
	case len(names) > 0:
		slices.Sort(names)
		return nil, fmt.Errorf("no socket is called so: what was handed to this process is called %s",
			strings.Join(slices.Compact(names), ", "))
	case descriptors.owner != "":
		return nil, fmt.Errorf("%w: LISTEN_PID says that it is for process %s, and this is %d",
			ErrNone, descriptors.owner, os.Getpid())
	}
	return nil, fmt.Errorf("%w: there is no LISTEN_FDS in its environment", ErrNone)
}

// checked tells what is wrong with a descriptor, or returns nil.
func checked(d *descriptor) error {
	if err := check(d.number); err != nil {
		return fmt.Errorf("descriptor %d: %w", d.number, err)
	}
	return nil
}

func (d *descriptor) listenLocked(user string) (net.Listener, error) {
	if d.user != "" {
		return nil, fmt.Errorf("descriptor %d is %w: %s has it", d.number, ErrUsed, d.user)
	}
	l, err := net.FileListener(d.file) // with a descriptor of its own
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", d.number, err)
	}
	made, err := newListener(l, d)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	d.user = user
	return made, nil
}
