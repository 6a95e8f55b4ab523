//go:build unix

package test

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// tooLarge is what a service says that has seen enough. It closes with unread data behind it, so
// that its kernel sends a reset after the answer.
var tooLarge = []byte("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 20000\r\n\r\n" +
	strings.Repeat("a", 20000))

func answerEarly(c conn) {
	_, _ = io.ReadFull(c, make([]byte, 1000))
	_, _ = c.Write(tooLarge)
}

// through are the ways from an inlet to a service, each of which has its own copy loops.
var through = map[string]func(t *testing.T, target string) (inlet string){
	"direct": func(t *testing.T, target string) string {
		return newTopology(t, plan{target: target, inlets: 1}).address
	},
	"relay": func(t *testing.T, target string) string {
		return newTopology(t, plan{target: target, relay: true, inlets: 1}).address
	},
	"mux": func(t *testing.T, target string) string {
		p := plan{target: target, relay: true, outlet: []string{"--mux"}, inlets: 1}
		return newTopology(t, p).address
	},
	"bridge": func(t *testing.T, target string) string {
		me := newPerson(t)
		_, outlet := me.startOutlet(target)
		_, bridge := me.startBridge(outlet)
		return me.inletTo(bridge + "/" + outlet)
	},
}

// TestAnswerBeforeReset has a service answer before it has read all, and close. TCP itself delivers
// such an answer, to a client that reads at once and to one that reads later.
func TestAnswerBeforeReset(t *testing.T) {
	for name, way := range through {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inlet := way(t, service(t, answerEarly))
			for i := range testenv.OfRun(8, 20, 20) {
				late := time.Duration(0)
				if i%4 == 3 {
					late = 100 * time.Millisecond
				}
				if got := askTooMuch(t, inlet, late); !bytes.Equal(got, tooLarge) {
					t.Errorf("connection %d: %d of %d bytes of the answer", i, len(got), len(tooLarge))
				}
			}
		})
	}
}

// askTooMuch sends megabytes, and returns what has been answered when the connection has ended.
func askTooMuch(t *testing.T, inlet string, late time.Duration) []byte {
	t.Helper()
	c := dial(t, inlet)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.Copy(struct{ io.Writer }{c}, stream(1, 8<<20)) })
	<-time.After(late)
	got, _ := io.ReadAll(c)
	_ = c.Close()
	sending.Wait()
	return got
}

// TestLastWordsOfClient is the same the other way round: a client says something and closes without
// having read what the service goes on sending.
func TestLastWordsOfClient(t *testing.T) {
	for name, way := range through {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := make(chan []byte)
			inlet := way(t, service(t, func(c conn) {
				var sending sync.WaitGroup
				sending.Go(func() { _, _ = io.Copy(struct{ io.Writer }{c}, stream(1, 8<<20)) })
				got, _ := io.ReadAll(c)
				sending.Wait()
				heard <- got
			}))
			for i := range testenv.OfRun(4, 10, 10) {
				c := dial(t, inlet)
				send(t, c, "begin")
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // it is sending
					t.Fatal(err)
				}
				if _, err := c.Write(tooLarge); err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				want := append([]byte("begin"), tooLarge...)
				if got := testkit.Within(t, heard, "the service"); !bytes.Equal(got, want) {
					t.Errorf("connection %d: %d of %d bytes came", i, len(got), len(want))
				}
			}
		})
	}
}

// TestAnswerBeforeResetOnStdio is the first one where the client is a program's stdin and stdout.
func TestAnswerBeforeResetOnStdio(t *testing.T) {
	t.Parallel()
	s := newTopology(t, plan{target: service(t, answerEarly)})
	for i := range 5 {
		cmd := s.command("inlet", "--listen", "-", "--to", s.route())
		cmd.Stdin = io.MultiReader(strings.NewReader("POST"), stream(1, 8<<20))
		p := start(t, cmd)
		_, err := p.exitCode()
		if err != nil {
			t.Fatal(err)
		}
		if got := p.stdout.String(); got != string(tooLarge) {
			t.Errorf("run %d: %d of %d bytes of the answer", i, len(got), len(tooLarge))
		}
	}
}

// TestResetIsNotLate has a reset where nothing is left to be delivered pass at once, although a
// direction that has something to deliver may take its time.
func TestResetIsNotLate(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{relay: true, inlets: 1})
	client, target := w.open()
	began := time.Now()
	reset(t, target)
	receivesReset(t, client)
	if took := time.Since(began); took > patience/4 {
		t.Errorf("the client was reset after %v", took)
	}
}
