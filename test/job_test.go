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
)

// TestMainJob is the README's: a web server, an outlet, an inlet, and a client that asks for the head of a page.
func TestMainJob(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "it works")
	}))
	t.Cleanup(web.Close)
	me := newPerson(t)
	outlet := me.start("outlet", "--listen", "127.0.0.1:0", "--target", web.Listener.Addr().String())
	printed := strings.Fields(ready(t, outlet))
	inlet := me.start("inlet", "--listen", "127.0.0.1:0", "--to", printed[5])
	address := ready(t, inlet)

	client := http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Head("http://" + address)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("HEAD: %v, %v", answer, err)
	}
	if curl, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command(curl, "--silent", "--show-error", "--max-time", "30", "--noproxy", "*", address).CombinedOutput()
		if err != nil || string(out) != "it works" {
			t.Fatalf("curl: %v: %s", err, out)
		}
	}
	for _, p := range []*process{outlet, inlet} {
		if n := strings.Count(p.stdout.String(), "\n"); n != 1 {
			t.Errorf("%v printed %d lines on stdout, want 1:\n%s", p.cmd, n, p.stdout.String())
		}
	}
}

// TestPrintedCommand runs the command that the outlet prints as a user would: by pasting it into a shell.
func TestPrintedCommand(t *testing.T) {
	t.Parallel()
	s := newOutlet(t)
	s.inlet = background(t, s.program("sh", "-c", s.printed))
	s.address = ready(t, s.inlet)
	client, target := s.open()
	send(t, client, "from the client")
	receives(t, target, "from the client")
}

// TestOtherPerson reaches an outlet of somebody else who allows it, and is allowed, by Identifier.
func TestOtherPerson(t *testing.T) {
	t.Parallel()
	guest := newPerson(t)
	s := newOutlet(t, "--allow", guest.identifier())
	s.person = guest
	s.connect(s.route(), "--allow", s.word("--allow"))
	client, target := s.open()
	send(t, target, "welcome")
	receives(t, client, "welcome")
}

// TestBigStreams sends a gigabyte each way at the same time.
func TestBigStreams(t *testing.T) {
	t.Parallel()
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	s := newSite(t)
	client, target := s.open()
	up, down := make(chan digest, 2), make(chan digest, 2)
	var tasks sync.WaitGroup
	run := func(results chan<- digest, f func() (digest, error)) {
		tasks.Go(func() {
			d, err := f()
			if err != nil {
				t.Error(err)
			}
			results <- d
		})
	}
	run(up, func() (digest, error) { return sendStream(client, 1, size) })
	run(up, func() (digest, error) { return receiveStream(target) })
	run(down, func() (digest, error) { return sendStream(target, 2, size) })
	run(down, func() (digest, error) { return receiveStream(client) })
	tasks.Wait()
	for name, results := range map[string]chan digest{"up": up, "down": down} {
		if a, b := <-results, <-results; a != b || a.size != size {
			t.Errorf("%s: one end has %d bytes %x, the other %d bytes %x; want %d", name, a.size, a.sum, b.size, b.sum, size)
		}
	}
}

// TestParallelConnections has 200 connections open at once, each with bytes of its own.
func TestParallelConnections(t *testing.T) {
	t.Parallel()
	const connections, size = 200, 64 << 10
	s := newSite(t)
	all := make([]*net.TCPConn, connections)
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

func TestClientHalfClosesThenReads(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	s := newSite(t)
	client, target := s.open()
	send(t, client, "send me everything")
	halfClose(t, client)
	receives(t, target, "send me everything")
	receivesEnd(t, target)
	var sent digest
	var sending sync.WaitGroup
	sending.Go(func() {
		var err error
		if sent, err = sendStream(target, 3, size); err != nil {
			t.Error(err)
		}
	})
	received, err := receiveStream(client)
	sending.Wait()
	if err != nil || received != sent || received.size != size {
		t.Fatalf("received %d bytes %x, %v; sent %d bytes %x", received.size, received.sum, err, sent.size, sent.sum)
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

// writesFail writes until c takes no more, which must be because it was reset.
func writesFail(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(struct{ io.Writer }{c}, pseudorandom(4))
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		t.Fatal("the connection is still open")
	}
}

// TestTargetDown refuses the client at once, and says why.
func TestTargetDown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_ = s.target.Close()
	s.resets()
	logs(t, s.inlet, "refused the connection")
	logs(t, s.outlet, "refused")
}

// listenAgain listens at an address that is free but for a connection of somebody else's, which will end.
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
	s.resets()
	s.target = listenAgain(t, s.target.Addr().String())
	client, target := s.open()
	send(t, client, "again")
	receives(t, target, "again")
}
