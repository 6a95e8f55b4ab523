//go:build unix

package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
)

// manyVariable has this test binary be many portals, which its value describes: what would be
// hundreds of processes of sp's is one.
const manyVariable = "SP_TEST_MANY"

// many is outlets in front of targets of their own, or inlets at sockets in a folder.
type many struct {
	Outlets bool
	Names   []string
	Relays  []string // the outlet or inlet of each name is told of one of these, in turn
	Dir     string   // where inlets listen; each at a file that is called as its name
	Key     string
	Survive time.Duration
}

func init() { insteadOfTests[many](manyVariable) }

// insteadOfTests has this test binary be what a variable in its environment describes, if it is
// there.
func insteadOfTests[T interface{ run() error }](variable string) {
	if text, ok := os.LookupEnv(variable); ok {
		var what T
		err := json.Unmarshal([]byte(text), &what)
		if err == nil {
			err = what.run()
		}
		fatal(err)
	}
}

// run starts all, says when they are ready, and goes on until the process is killed.
func (m many) run() error {
	ready, waiting := make(chan struct{}, len(m.Names)), 0
	begin := func(c config.Config) error {
		c.Node.Identity, c.Node.Survive = m.Key, m.Survive
		waiting += len(c.Inlets) + len(c.Outlets)
		_, err := daemon.Start(context.Background(), c, daemon.Options{
			Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Notify: func(e daemon.Event) {
				if e.Kind == daemon.Ready {
					ready <- struct{}{}
				}
			},
		})
		return err
	}
	var inlets config.Config // of one node
	for i, name := range m.Names {
		relay := m.Relays[i%len(m.Relays)]
		if !m.Outlets {
			inlets.Inlets = append(inlets.Inlets, config.Inlet{
				Listen: "unix:" + filepath.Join(m.Dir, name), To: []string{name + "@" + relay},
			})
			continue
		}
		target, err := m.target(name)
		if err != nil {
			return err
		}
		// The outlets of a configuration have a node in common, which would have any of their names.
		err = begin(config.Config{Outlets: []config.Outlet{{
			Entrance: config.Entrance{Relays: []string{relay}, Name: name}, Target: target,
		}}})
		if err != nil {
			return err
		}
	}
	if !m.Outlets {
		if err := begin(inlets); err != nil {
			return err
		}
	}
	for range waiting {
		<-ready
	}
	fmt.Println("ready")
	select {}
}

// target is a service that says its name and answers steady connections, and complains on stderr.
func (m many) target(name string) (at string, err error) {
	l, err := net.Listen("tcp", anywhere)
	if err != nil {
		return "", err
	}
	answer := answeringTagged(name, func(err error) { fmt.Fprintln(os.Stderr, err) })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go func() {
					defer c.Close()
					answer(c.(conn))
				}()
			}
		}
	}()
	return l.Addr().String(), nil
}

// startMany starts many portals of this person's in one process, and waits until they are ready.
func (u person) startMany(m many) *process {
	u.t.Helper()
	self, err := os.Executable()
	if err != nil {
		u.t.Fatal(err)
	}
	m.Key = u.keyFile()
	text, err := json.Marshal(m)
	if err != nil {
		u.t.Fatal(err)
	}
	u.binary = self
	cmd := u.command()
	cmd.Env = append(cmd.Env, manyVariable+"="+string(text), "GOGC=400") // there are many of them
	return start(u.t, cmd)
}
