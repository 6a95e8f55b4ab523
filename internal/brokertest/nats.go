// Package brokertest runs brokers for tests: programs that are started, killed and started again.
package brokertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// Process is one server of a broker. Its methods are for one goroutine at a time.
type Process struct {
	Address string // HOST:PORT

	t       testing.TB
	command []string
	more    []string // of its environment
	running *exec.Cmd
}

// Start starts the server, and returns when it listens.
func (p *Process) Start() {
	p.t.Helper()
	p.running = exec.Command(p.command[0], p.command[1:]...)
	p.running.Env = append(os.Environ(), p.more...)
	if err := p.running.Start(); err != nil {
		p.t.Fatal(err)
	}
	testkit.Eventually(p.t, p.command[0]+" listens", func() bool {
		c, err := net.DialTimeout("tcp", p.Address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Kill ends the server at once, and returns when it has ended.
func (p *Process) Kill() {
	if p.running != nil {
		_ = p.running.Process.Kill()
		_ = p.running.Wait()
		p.running = nil
	}
}

// Again runs the test's own program again, with a variable in its environment by which it knows
// what to be, and waits until it listens at a port of loopback. It ends with t.
func Again(t testing.TB, port int, variable string) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		t:       t, command: []string{self}, more: []string{variable},
	}
	t.Cleanup(p.Kill)
	p.Start()
	return p
}

// NATS runs a nats-server with what config says besides where it listens. It ends with t.
func NATS(t testing.TB, config string) *Process {
	t.Helper()
	return NATSCluster(t, 1, config)[0]
}

// NATSCluster runs n servers of one cluster, with what config says besides where each is. They end
// with t.
func NATSCluster(t testing.TB, n int, config string) []*Process {
	t.Helper()
	program := testenv.NeedTool(t, "nats-server")
	var clients, routes []string
	for range n {
		clients = append(clients, testkit.Address(t))
		routes = append(routes, testkit.Address(t))
	}
	var all []*Process
	for i, at := range clients {
		text := fmt.Sprintf("listen: %q\n%s\n", at, config)
		if n > 1 {
			text += fmt.Sprintf("server_name: s%d\ncluster { name: c, listen: %q, routes: [nats://%s] }\n",
				i, routes[i], strings.Join(routes, ", nats://"))
		}
		file := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &Process{Address: at, t: t, command: []string{program, "-c", file}}
		t.Cleanup(p.Kill)
		p.Start()
		all = append(all, p)
	}
	return all
}
