//go:build unix

package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// TestMainJob is the README's: a web server, an outlet, an inlet, and a client that asks for the
// head of a page.
func TestMainJob(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "it works")
	}))
	t.Cleanup(web.Close)
	w := newTopology(t, plan{target: web.Listener.Addr().String(), inlets: 1})
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Head("http://" + w.address)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("HEAD: %v, %v", answer, err)
	}
	if curl, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command(curl, append(quietCurl, w.address)...).CombinedOutput()
		if err != nil || string(out) != "it works" {
			t.Fatalf("curl: %v: %s", err, out)
		}
	}
	for _, p := range []*process{w.outlet, w.inlet} {
		if n := strings.Count(p.stdout.String(), "\n"); n != 1 {
			t.Errorf("%v printed %d lines on stdout, want 1:\n%s", p.cmd, n, p.stdout.String())
		}
	}
}

// TestPrintedCommand runs the command that the outlet prints as a user would: by pasting it into a
// shell.
func TestPrintedCommand(t *testing.T) {
	t.Parallel()
	s := newOutlet(t)
	s.connected(start(t, s.program("sh", "-c", s.printed)))
	s.carries()
}

// TestOtherPerson reaches an outlet of somebody else who allows it, and is allowed, by Identifier.
func TestOtherPerson(t *testing.T) {
	t.Parallel()
	guest := newPerson(t)
	s := newOutlet(t, "--allow", guest.identifier())
	s.person = guest
	s.connect(s.route(), "--allow", s.word("--allow"))
	s.carries()
}

// TestBigStreams sends a lot each way at the same time: with SP_FULL=1 a gigabyte.
func TestBigStreams(t *testing.T) {
	t.Parallel()
	m := newMirror(t, testenv.OfRun[int64](8<<20, 32<<20, 1<<30))
	w := newTopology(t, plan{target: m.address, inlets: 1})
	c := dial(t, w.address)
	if testenv.Full() {
		_ = c.SetDeadline(time.Now().Add(3 * patience))
	}
	if err := m.both(c); err != nil {
		t.Error(err)
	}
}

// TestParallelConnections has 200 connections open at once, each with bytes of its own.
func TestParallelConnections(t *testing.T) {
	t.Parallel()
	const connections, size = 200, 64 << 10
	s := newSite(t)
	all := make([]conn, connections)
	var echoes sync.WaitGroup
	for i := range all {
		all[i] = s.dial()
		target := s.accept()
		echoes.Go(func() {
			if _, err := io.Copy(target, target); err != nil {
				t.Error(err)
			}
			_ = target.Close()
		})
	}
	var tasks sync.WaitGroup
	for i, client := range all {
		tasks.Go(func() {
			want := make([]byte, size)
			_, _ = pseudorandom(uint64(i)).Read(want)
			tasks.Go(func() {
				_, err := client.Write(want)
				if err = errors.Join(err, client.CloseWrite()); err != nil {
					t.Error(err)
				}
			})
			if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, want) {
				t.Errorf("connection %d: %d bytes came back, %v", i, len(got), err)
			}
		})
	}
	tasks.Wait()
	echoes.Wait()
}

// TestShortConnections follow one another, so that links are used again.
func TestShortConnections(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 50 {
		text := fmt.Sprintf("connection %d", i)
		client, target := s.open()
		send(t, client, text)
		halfClose(t, client)
		receives(t, target, text)
		receivesEnd(t, target)
		send(t, target, text)
		_ = target.Close()
		receives(t, client, text)
		receivesEnd(t, client)
		_ = client.Close()
	}
}

func TestServerClosesFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, target := s.open()
	send(t, client, "hello")
	receives(t, target, "hello")
	send(t, target, "bye")
	_ = target.Close()
	receives(t, client, "bye")
	receivesEnd(t, client)
}

// TestServerHalfCloses keeps the other direction open for as long as the client likes.
func TestServerHalfCloses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, target := s.open()
	halfClose(t, target)
	receivesEnd(t, client)
	send(t, client, "still here")
	receives(t, target, "still here")
	halfClose(t, client)
	receivesEnd(t, target)
}

// TestClientHalfClosesThenReads has a client end its direction before the answer begins, which is
// long.
func TestClientHalfClosesThenReads(t *testing.T) {
	t.Parallel()
	const seed = 3
	size := testenv.OfRun[int64](4<<20, 16<<20, 100<<20)
	s := newSite(t)
	client, target := s.open()
	send(t, client, "send me everything")
	halfClose(t, client)
	receives(t, target, "send me everything")
	receivesEnd(t, target)
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(sendStream(target, seed, size), target.CloseWrite()) }()
	received, err := receiveStream(client)
	if err = errors.Join(err, <-sent); err != nil || received != digestOf(seed, size) {
		t.Fatalf("received %d bytes of %d, or other ones: %v", received.size, size, err)
	}
}

func TestClientResets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, target := s.open()
	send(t, client, "hello")
	receives(t, target, "hello")
	reset(t, client)
	receivesReset(t, target)
}

func TestTargetResets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, target := s.open()
	send(t, client, "hello")
	receives(t, target, "hello")
	reset(t, target)
	receivesReset(t, client)
}

// TestClientHalfClosesThenResets while the target is sending: the target's writes must fail.
func TestClientHalfClosesThenResets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, target := s.open()
	halfClose(t, client)
	receivesEnd(t, target)
	send(t, target, "hello")
	receives(t, client, "hello")
	reset(t, client)
	writesFail(t, target)
}

// TestTargetHalfClosesThenResets is the same the other way around.
func TestTargetHalfClosesThenResets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, target := s.open()
	halfClose(t, target)
	receivesEnd(t, client)
	send(t, client, "hello")
	receives(t, target, "hello")
	reset(t, target)
	writesFail(t, client)
}

// TestTargetDown refuses the client at once, and says why.
func TestTargetDown(t *testing.T) {
	t.Parallel()
	s := newTopology(t, plan{inlets: 1, target: testkit.Address(t)})
	isRefused(t, s.address)
	s.inlet.says("refused the connection")
	s.outlet.says("refused")
}

// listenAgain listens at an address that is free but for a connection of somebody else's, which
// will end.
func listenAgain(t *testing.T, address string) *net.TCPListener {
	t.Helper()
	var l net.Listener
	eventually(t, address+" is free", func() bool {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil
	})
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// TestTargetComesBack serves connections again once the target does.
func TestTargetComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_ = s.target.Close()
	isRefused(t, s.address)
	s.target = listenAgain(t, s.targetAt)
	s.carries()
}

// TestStacks has the laboratory ask an inlet that does not get ready what it is waiting for.
func TestStacks(t *testing.T) {
	t.Parallel()
	p, err := launch(newPerson(t).command("inlet", "--listen", anywhere, "--to", testkit.Address(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	told := func(s string) bool { return strings.Contains(s, "refused") }
	if err := p.await(&p.stderr, told); err != nil {
		t.Fatal(err)
	}
	got := p.stacks()
	for _, want := range []string{"goroutine 1 ", "route.(*Failover)"} { // main's may be running
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
