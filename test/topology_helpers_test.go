//go:build unix

package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// labPatience is longer than anything here takes, unless it hangs.
const labPatience = 90 * time.Second

// nodes are a few processes of sp that belong to one person.
type nodes struct {
	t      *testing.T
	binary string
	dir    string
	own    string // the key file that a process has if nothing else is said

	// Inside names the network namespace that the next processes start in; empty is the test's own.
	inside string
}

func newNodes(t *testing.T) *nodes {
	t.Helper()
	l := &nodes{t: t, binary: executable(t), dir: t.TempDir()}
	l.own, _ = l.identity("own")
	return l
}

// identity makes a key file and returns it with its Identifier.
func (l *nodes) identity(name string) (file, identifier string) {
	l.t.Helper()
	file = filepath.Join(l.dir, name+".identity")
	r := l.run("identity", "create", file)
	if r.code != 0 {
		l.t.Fatalf("identity create: %+v", r)
	}
	return file, strings.TrimSpace(r.stdout)
}

// ownID is the Identifier of the processes that have no other.
func (l *nodes) ownID() string {
	l.t.Helper()
	return strings.TrimSpace(l.run("identity", "show", l.own).stdout)
}

// labProcess is one running sp.
type labProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	name string
	line chan string // the first line on stdout, once
	done chan struct{}
	log  transcript // of stderr

	out bytes.Buffer // stdout; complete when done is closed
}

// command returns sp with args, not started, in the lab's own identity unless args or the environment say otherwise.
func (l *nodes) command(args ...string) *exec.Cmd {
	name, argv := l.binary, args
	if l.inside != "" {
		name, argv = "ip", append([]string{"netns", "exec", l.inside, l.binary}, args...)
	}
	cmd := exec.Command(name, argv...)
	cmd.Env = append(os.Environ(), "SP_IDENTITY="+l.own, raceOptions)
	return cmd
}

// start starts sp. It is killed when the test ends; its log is shown if the test failed.
func (l *nodes) start(args ...string) *labProcess {
	l.t.Helper()
	p := &labProcess{
		t: l.t, cmd: l.command(args...), name: args[0],
		line: make(chan string, 1), done: make(chan struct{}),
	}
	p.cmd.Stderr = &p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go p.watch(stdout)
	l.t.Cleanup(func() {
		p.kill()
		if sign := p.log.trouble(); sign != "" {
			l.t.Errorf("sp %s: %s", args[0], sign)
		}
		if l.t.Failed() {
			l.t.Logf("sp %s\n%s%s", strings.Join(args, " "), p.out.Bytes(), labTail(p.log.String()))
		}
	})
	return p
}

// labTail keeps the end of a long log.
func labTail(text string) string {
	const most = 4000
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

func (p *labProcess) watch(stdout io.Reader) {
	defer close(p.done)
	r := bufio.NewReader(stdout)
	line, _ := r.ReadString('\n')
	p.out.WriteString(line)
	p.line <- strings.TrimSpace(line)
	_, _ = p.out.ReadFrom(r)
	_ = p.cmd.Wait()
}

// ready returns the line that the process prints when it is ready.
func (p *labProcess) ready() string {
	p.t.Helper()
	select {
	case line := <-p.line:
		if line == "" {
			p.t.Fatalf("sp %s ended before it was ready\n%s", p.name, p.log.String())
		}
		return line
	case <-time.After(labPatience):
		p.t.Fatalf("sp %s is not ready\n%s", p.name, p.log.String())
	}
	return ""
}

// says waits until the log has text, n times.
func (p *labProcess) says(text string, n int) {
	p.t.Helper()
	p.saysWithin(labPatience, text, n)
}

func (p *labProcess) saysWithin(patience time.Duration, text string, n int) {
	p.t.Helper()
	late := time.After(patience)
	for {
		log, changed := p.log.read()
		if strings.Count(log, text) >= n {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if strings.Count(p.log.String(), text) < n {
				p.t.Fatalf("sp %s ended without saying %q %d times\n%s", p.name, text, n, p.log.String())
			}
			return
		case <-late:
			p.t.Fatalf("sp %s did not say %q %d times within %v\n%s", p.name, text, n, patience, labTail(p.log.String()))
		}
	}
}

// kill ends the process at once and waits for it.
func (p *labProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks the process to end in good order.
func (p *labProcess) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// stops waits until the process has ended, and well.
func (p *labProcess) stops() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(labPatience):
		p.t.Fatalf("sp %s goes on\n%s", p.name, labTail(p.log.String()))
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("sp %s ended with exit code %d", p.name, code)
	}
}

// labResult is how a command ended.
type labResult struct {
	code           int
	stdout, stderr string
}

// run runs sp to its end.
func (l *nodes) run(args ...string) labResult {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), labPatience)
	defer cancel()
	cmd := l.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !stop() {
		l.t.Fatalf("sp %v does not end\n%s", args, stderr.Bytes())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	return labResult{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// fails runs sp, which must end with this exit code, with nothing on stdout and with this text in its one error, which
// may be followed by a hint.
func (l *nodes) fails(code int, text string, args ...string) {
	l.t.Helper()
	r := l.run(args...)
	var errors []string
	for line := range strings.Lines(r.stderr) {
		if strings.HasPrefix(line, "sp: ") && !strings.HasPrefix(line, "sp: hint: ") {
			errors = append(errors, line)
		}
	}
	if r.code != code || r.stdout != "" || len(errors) != 1 || !strings.Contains(errors[0], text) {
		l.t.Errorf("sp %s\nexit code %d, want %d; stdout %q; want one error with %q:\n%s",
			strings.Join(args, " "), r.code, code, r.stdout, text, r.stderr)
	}
}

// relay starts a relay and returns where it listens.
func (l *nodes) relay(args ...string) (*labProcess, string) {
	l.t.Helper()
	p := l.start(append([]string{"relay", "--listen", "127.0.0.1:0"}, args...)...)
	return p, p.ready()
}

// bridge starts a bridge to one next hop and returns where it listens.
func (l *nodes) bridge(next string, args ...string) (*labProcess, string) {
	l.t.Helper()
	p := l.start(append([]string{"bridge", "--listen", "127.0.0.1:0", "--next", next}, args...)...)
	return p, p.ready()
}

// outlet starts an outlet that listens, and returns where.
func (l *nodes) outlet(target string, args ...string) (*labProcess, string) {
	l.t.Helper()
	p := l.start(append([]string{"outlet", "--listen", "127.0.0.1:0", "--target", target}, args...)...)
	_, to, ok := strings.Cut(p.ready(), " --to /ip4/127.0.0.1/tcp/")
	if !ok {
		l.t.Fatalf("the outlet's line is %q", p.out.String())
	}
	port, _, _ := strings.Cut(to, "/")
	return p, "127.0.0.1:" + port
}

// registered starts an outlet that is reached through a relay.
func (l *nodes) registered(relay, name, target string, args ...string) *labProcess {
	l.t.Helper()
	p := l.start(append([]string{"outlet", "--relay", relay, "--name", name, "--target", target}, args...)...)
	p.ready()
	return p
}

// inlet starts an inlet and returns where it listens.
func (l *nodes) inlet(to string, args ...string) string {
	l.t.Helper()
	return l.start(append([]string{"inlet", "--listen", "127.0.0.1:0", "--to", to}, args...)...).ready()
}

// step returns host:port as a step of a route.
func step(address string) string {
	ap := netip.MustParseAddrPort(address)
	return fmt.Sprintf("/ip4/%s/tcp/%d", ap.Addr(), ap.Port())
}

// Ends of routes.
const (
	labChannel = "/secure/api"
	labOutlet  = labChannel + "/service/outlet"
	labAgain   = labChannel + "/service/hop" // a channel, and the rest inside it on the same node
)

func forwardTo(name string) string { return "/service/forward_to_" + name }

// labStream is n bytes in which no two stretches are alike; every seed has others.
func labStream(seed byte, n int64) io.Reader { return io.LimitReader(pseudorandom(uint64(seed)), n) }

type labZeros struct{}

func (labZeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// labSum returns what labStream's bytes hash to.
func labSum(seed byte, n int64) [sha256.Size]byte {
	key := [2]int64{int64(seed), n}
	if sum, ok := labSums.Load(key); ok {
		return sum.([sha256.Size]byte)
	}
	h := sha256.New()
	_, _ = io.Copy(h, labStream(seed, n))
	sum := [sha256.Size]byte(h.Sum(nil))
	labSums.Store(key, sum)
	return sum
}

var labSums sync.Map // of those that have been asked for

// labConn is a TCP or Unix connection.
type labConn interface {
	net.Conn
	CloseWrite() error
}

// labDial connects to an inlet.
func labDial(t *testing.T, address string) labConn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.DialTimeout(network, address, labPatience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(labPatience))
	return c.(labConn)
}

// labService listens, and serves each connection with handle until the test ends. It returns where.
func labService(t *testing.T, handle func(labConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	labServe(t, l, handle)
	return l.Addr().String()
}

func labServe(t *testing.T, l net.Listener, handle func(labConn)) {
	var (
		mu    sync.Mutex
		conns = make(map[net.Conn]struct{})
		tasks sync.WaitGroup
	)
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = struct{}{}
			mu.Unlock()
			tasks.Go(func() {
				defer c.Close()
				handle(c.(labConn))
				mu.Lock()
				defer mu.Unlock()
				delete(conns, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
}

// What the first byte of a connection asks of the service that labMirror is:
const (
	askBoth  = 'b' // it sends its own stream while it reads the client's; after the client's end, the sum of that
	askEnd   = 'e' // it ends its own direction at once; when the client has ended too, the sum is in sums
	askSend  = 's' // it sends its own stream, and ends
	askEcho  = 'c' // it sends back what it gets
	askStall = 'n' // it reads nothing more until the test ends
	seedFrom = 0xC1
	seedTo   = 0x5E
)

// labMirror is a service, and where it leaves the sums of those who could not be told.
type labMirror struct {
	address string
	size    int64
	sums    chan [sha256.Size]byte
	served  chan struct{} // a token for each connection that came in
	over    chan struct{} // closed when the test ends
}

const labConnections = 1 << 16

func newMirror(t *testing.T, size int64) *labMirror {
	t.Helper()
	m := &labMirror{
		size: size, sums: make(chan [sha256.Size]byte, labConnections), served: make(chan struct{}, labConnections),
		over: make(chan struct{}),
	}
	m.address = labService(t, m.serve)
	t.Cleanup(func() { close(m.over) })
	return m
}

func (m *labMirror) serve(c labConn) {
	m.served <- struct{}{}
	ask := make([]byte, 1)
	if _, err := io.ReadFull(c, ask); err != nil {
		return
	}
	h := sha256.New()
	switch ask[0] {
	case askBoth:
		sent := make(chan error, 1)
		go func() {
			_, err := io.Copy(c, labStream(seedFrom, m.size))
			sent <- err
		}()
		_, err := io.Copy(h, c)
		if err == nil && <-sent == nil {
			_, _ = c.Write(h.Sum(nil))
		}
	case askEnd:
		_ = c.CloseWrite()
		if _, err := io.Copy(h, c); err == nil {
			m.sums <- [sha256.Size]byte(h.Sum(nil))
		}
	case askSend:
		_, _ = io.Copy(c, labStream(seedFrom, m.size))
	case askEcho:
		_, _ = io.Copy(c, c)
	case askStall:
		<-m.over
	}
}

// both sends size bytes to the mirror behind address and gets as many, at the same time; what the mirror has got it
// says after the half-close.
func (m *labMirror) both(c labConn) error {
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte{askBoth})
		if err == nil {
			_, err = io.Copy(c, labStream(seedTo, m.size))
		}
		sent <- errors.Join(err, c.CloseWrite())
	}()
	h := sha256.New()
	if n, err := io.CopyN(h, c, m.size); err != nil {
		return fmt.Errorf("after %d bytes from the service: %w", n, err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != labSum(seedFrom, m.size) {
		return errors.New("what the service sent has changed on the way")
	}
	sum, err := io.ReadAll(c)
	if want := labSum(seedTo, m.size); err != nil || !bytes.Equal(sum, want[:]) {
		return fmt.Errorf("the service got something else than was sent: %x, %w", sum, err)
	}
	return c.Close()
}

// afterEnd lets the service end first, and sends size bytes after that.
func (m *labMirror) afterEnd(c labConn, size int64) error {
	if _, err := c.Write([]byte{askEnd}); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return fmt.Errorf("the service's end arrives as %w", err)
	}
	if _, err := io.Copy(c, labStream(seedTo, size)); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	select {
	case sum := <-m.sums:
		if sum != labSum(seedTo, size) {
			return errors.New("the service got something else than was sent")
		}
		return nil
	case <-time.After(labPatience):
		return errors.New("the client's end does not arrive")
	}
}

// receive gets the mirror's stream and its end.
func (m *labMirror) receive(c labConn) error {
	if _, err := c.Write([]byte{askSend}); err != nil {
		return err
	}
	h := sha256.New()
	if n, err := io.Copy(h, c); err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != labSum(seedFrom, m.size) {
		return errors.New("what the service sent has changed on the way")
	}
	return nil
}

// labEcho sends text and expects it back.
func labEcho(c labConn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		return fmt.Errorf("%q came back for %q: %w", got[:n], text, err)
	}
	return nil
}

// eventually waits for what nobody announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(labPatience)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("not within %v: %s", labPatience, what)
		}
	}
}
