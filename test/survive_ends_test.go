//go:build unix

package test

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

const (
	// what an inlet and an outlet log when connections wait for another way
	waitLine = "connections have lost their way, and wait for another one"
	// and when some of them have waited in vain
	lostLine = "connections were lost: no way was found to go on"
	// and what an inlet logs when a path is open that was not
	reachedLine = "far end reached"
)

// suspend kills the relay, and waits until both ends know that.
func (w *topology) suspend() {
	w.t.Helper()
	inlet, outlet := w.inlet.said(waitLine), w.outlet.said(waitLine)
	w.kill("relay")
	w.inlet.saysAgain(waitLine, inlet)
	w.outlet.saysAgain(waitLine, outlet)
}

// A scene is what happens to one connection in three acts: before the relay is killed, while there
// is none, and when there is one again.
type scene struct {
	name                  string
	before, amidst, after func(t *testing.T, client, target conn)
}

func nothing(*testing.T, conn, conn) {}

// scenes have every kind of end on either side of a kill.
var scenes = []scene{
	{
		"half-closed before by the client",
		func(t *testing.T, client, target conn) {
			send(t, client, "question")
			halfClose(t, client)
			receives(t, target, "question")
			receivesEnd(t, target)
		},
		func(t *testing.T, _, target conn) { send(t, target, "answer") },
		func(t *testing.T, client, target conn) {
			receives(t, client, "answer")
			send(t, target, ", and more")
			_ = target.Close()
			receives(t, client, ", and more")
			receivesEnd(t, client)
		},
	},
	{
		"half-closed before by the target",
		func(t *testing.T, client, target conn) {
			send(t, target, "greeting")
			halfClose(t, target)
			receives(t, client, "greeting")
			receivesEnd(t, client)
		},
		func(t *testing.T, client, _ conn) { send(t, client, "thanks") },
		func(t *testing.T, client, target conn) {
			receives(t, target, "thanks")
			send(t, client, ", and more")
			_ = client.Close()
			receives(t, target, ", and more")
			receivesEnd(t, target)
		},
	},
	{
		"half-closed meanwhile by both",
		nothing,
		func(t *testing.T, client, target conn) {
			send(t, client, "question")
			halfClose(t, client)
			send(t, target, "answer")
			halfClose(t, target)
		},
		func(t *testing.T, client, target conn) {
			receives(t, target, "question")
			receivesEnd(t, target)
			receives(t, client, "answer")
			receivesEnd(t, client)
		},
	},
	{
		"half-closed before, last words meanwhile",
		func(t *testing.T, client, target conn) {
			halfClose(t, client)
			receivesEnd(t, target)
		},
		targetSaysLastWords,
		clientHearsLastWords,
	},
	{
		"last words of the client meanwhile",
		nothing,
		func(t *testing.T, client, _ conn) {
			send(t, client, "last words")
			_ = client.Close()
		},
		func(t *testing.T, _, target conn) {
			receives(t, target, "last words")
			receivesEnd(t, target)
		},
	},
	{
		"last words of the target meanwhile",
		nothing,
		targetSaysLastWords,
		clientHearsLastWords,
	},
	{
		"reset meanwhile by the client",
		nothing,
		func(t *testing.T, client, _ conn) { reset(t, client) },
		func(t *testing.T, _, target conn) { receivesReset(t, target) },
	},
	{
		"reset meanwhile by the target",
		nothing,
		func(t *testing.T, _, target conn) { reset(t, target) },
		func(t *testing.T, client, _ conn) { receivesReset(t, client) },
	},
	{
		"reset meanwhile by the client, behind a half-close",
		func(t *testing.T, client, target conn) {
			halfClose(t, client)
			receivesEnd(t, target)
		},
		func(t *testing.T, client, _ conn) { reset(t, client) },
		func(t *testing.T, _, target conn) { breaks(t, target) },
	},
	{
		"reset meanwhile by the target, behind a half-close",
		func(t *testing.T, client, target conn) {
			halfClose(t, target)
			receivesEnd(t, client)
		},
		func(t *testing.T, _, target conn) { reset(t, target) },
		func(t *testing.T, client, _ conn) { breaks(t, client) },
	},
	{
		"words and a reset meanwhile by the target",
		nothing,
		func(t *testing.T, _, target conn) {
			send(t, target, "words")
			reset(t, target)
		},
		func(t *testing.T, client, _ conn) { receivesReset(t, client) },
	},
	{
		"nothing meanwhile",
		nothing, nothing,
		func(t *testing.T, client, target conn) {
			send(t, client, "question")
			receives(t, target, "question")
			send(t, target, "answer")
			receives(t, client, "answer")
		},
	},
}

// breaks waits until c takes nothing any more. It says little: behind much, a reset may take its
// time.
func breaks(t *testing.T, c conn) {
	t.Helper()
	eventually(t, "it takes nothing any more", func() bool {
		_, err := c.Write([]byte{0})
		return err != nil && !isTimeout(err)
	})
}

// TestSurvivesScenes has connections end in every way before, while and after there is no relay,
// all of them in one portal: the other end learns what was done, and nothing else.
func TestSurvivesScenes(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"relay": nil, "mux": {"--mux"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLasting(t, plan{inlets: 1, outlet: flags})
			for range testenv.OfRun(1, 2, 50) {
				w.playScenes(t)
			}
		})
	}
}

func (w *topology) playScenes(t *testing.T) {
	t.Helper()
	clients, targets := make([]conn, len(scenes)), make([]conn, len(scenes))
	for i, s := range scenes {
		clients[i], targets[i] = w.open()
		send(t, clients[i], "begun")
		receives(t, targets[i], "begun")
		s.before(t, clients[i], targets[i])
	}
	w.suspend()
	for i, s := range scenes {
		s.amidst(t, clients[i], targets[i])
	}
	w.revive("relay")
	for i, s := range scenes {
		if !t.Run(s.name, func(t *testing.T) { s.after(t, clients[i], targets[i]) }) {
			t.FailNow()
		}
		_, _ = clients[i].Close(), targets[i].Close()
	}
}

// TestSurvivesLastWords kills the relay at the moment when one side has said much and closed: that
// may be anywhere on its way, and arrives with its end.
func TestSurvivesLastWords(t *testing.T) {
	t.Parallel()
	w := newLasting(t, plan{inlets: 1})
	for n := range testenv.OfFull(4, 100) {
		speaker, hearer := w.open()
		send(t, speaker, "begun")
		receives(t, hearer, "begun")
		if n%2 == 1 {
			speaker, hearer = hearer, speaker
		}
		seed, size := uint64(n), int64(64<<10<<(n%5))
		if n%4 >= 2 {
			halfClose(t, hearer)
			receivesEnd(t, speaker)
		}
		said := make(chan error, 1)
		go func() {
			err := sendStream(speaker, seed, size)
			_ = speaker.Close()
			said <- err
		}()
		if _, err := io.ReadFull(hearer, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		w.kill("relay")
		w.revive("relay")
		words := pseudorandom(seed)
		_, _ = io.ReadFull(words, make([]byte, 1))
		if err := verifyFrom(hearer, words, size-1); err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		receivesEnd(t, hearer)
		if err := <-said; err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		_ = hearer.Close()
	}
}

// TestSurvivesNoOutlet starts another outlet in the place of one that was killed: it has none of
// what that one held, and the clients are told as soon as it is met.
func TestSurvivesNoOutlet(t *testing.T) {
	t.Parallel()
	for _, through := range []bool{true, false} {
		t.Run(map[bool]string{true: "relay", false: "direct"}[through], func(t *testing.T) {
			t.Parallel()
			me := survivor(t)
			var w *topology
			if through {
				w = newLasting(t, plan{who: me, inlets: 1})
			} else {
				w = newTopology(t, plan{who: me, at: testkit.Address(t)})
				w.connect(hostPortOf(w.route()))
			}
			client, target := w.open()
			send(t, client, "hello")
			receives(t, target, "hello")
			send(t, target, "there") // what has not been answered ends before that
			receives(t, client, "there")
			w.kill("outlet")
			receivesReset(t, target)
			w.inlet.says(waitLine)
			began := time.Now()
			w.revive("outlet")
			if e := receivesReset(t, client); !inTimeAt(began, e.at, 5*time.Second) {
				t.Errorf("the client was told %v after the other outlet was there",
					e.at.Sub(began))
			}
			w.inlet.says(lostLine)
			w.inlet.says(reachedLine)
			w.carries()
		})
	}
}

// TestSurvivesNoInlet has an inlet end. One that is told to stop says so, and the service is told
// at once. One that is killed looks like a lost link: the service is told when the time is over for
// which connections wait, as the one end says that wants less, whoever comes in its place.
func TestSurvivesNoInlet(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"inlet", "outlet"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			survive := unhurried(3 * time.Second)
			p, flags := plan{who: survivor(t)}, []string{"--drain", "0"}
			short := []string{"--survive", survive.String()}
			if who == "outlet" {
				p.outlet = short
			} else {
				flags = append(flags, short...)
			}
			w := newLasting(t, p)
			begin := func() conn {
				w.connect(w.route(), flags...)
				client, target := w.open()
				send(t, client, "hello")
				receives(t, target, "hello")
				return target
			}
			target, began := begin(), time.Now()
			w.inlet.signal(syscall.SIGTERM)
			if e := receivesReset(t, target); !inTimeAt(began, e.at, survive-time.Second) {
				t.Errorf("told %v after the inlet was told to stop", e.at.Sub(began))
			}
			target, began = begin(), time.Now()
			w.inlet.kill()
			_ = begin() // is no sign of what has become of the one before
			e := receivesReset(t, target)
			took := e.at.Sub(began)
			if took < survive || !inTimeAt(began, e.at, survive+2*time.Second) {
				t.Errorf("told %v after the inlet was killed, and connections wait %v", took, survive)
			}
		})
	}
}

// TestSurvivesNothing has one of the two ends say that connections end with their link.
func TestSurvivesNothing(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"inlet", "outlet"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			p := plan{who: survivor(t)}
			flags := []string{"--survive", "0"}
			if who == "outlet" {
				p.outlet = flags
			}
			w := newLasting(t, p)
			if who == "inlet" {
				w.connect(w.route(), flags...)
			} else {
				w.connect(w.route())
			}
			client, target := w.open()
			send(t, client, "hello")
			receives(t, target, "hello")
			send(t, target, "there") // what has not been answered ends before that
			receives(t, client, "there")
			began := time.Now()
			w.kill("relay")
			for _, c := range []conn{client, target} {
				if e := receivesReset(t, c); !inTimeAt(began, e.at, 2*time.Second) {
					t.Errorf("reset after %v", e.at.Sub(began))
				}
			}
			for _, p := range []*process{w.inlet, w.outlet} {
				if p.said(waitLine) > 0 {
					t.Errorf("%v says %q", p.cmd, waitLine)
				}
			}
			w.revive("relay")
			w.inlet.says(reachedLine)
			w.carries()
		})
	}
}

// TestSurvivesNoLonger has no relay for longer than connections may wait, as the one end says that
// wants less: both applications are told then, and the logs have the reason.
func TestSurvivesNoLonger(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"inlet", "outlet"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			survive := unhurried(2 * time.Second)
			p := plan{who: survivor(t)}
			flags := []string{"--survive", survive.String()}
			if who == "outlet" {
				p.outlet = flags
			}
			w := newLasting(t, p)
			if who == "inlet" {
				w.connect(w.route(), flags...)
			} else {
				w.connect(w.route())
			}
			client, target := w.open()
			send(t, client, "hello")
			receives(t, target, "hello")
			send(t, target, "there") // what has not been answered ends before that
			receives(t, client, "there")
			began := time.Now()
			w.suspend()
			for _, c := range []conn{client, target} {
				e := receivesReset(t, c)
				if took := e.at.Sub(began); took < survive ||
					!inTimeAt(began, e.at, survive+2*time.Second) {
					t.Errorf("reset after %v, and may wait %v", took, survive)
				}
			}
			for _, p := range []*process{w.inlet, w.outlet} {
				p.says(lostLine)
				if !strings.Contains(p.stderr.String(), "no other way was found in time") {
					t.Errorf("no reason in the log:\n%s", p.stderr.tail())
				}
			}
			w.revive("relay")
			w.inlet.says(reachedLine)
			w.carries()
		})
	}
}

// TestSurvivesHidesNothing has new connections fail while others wait, as soon as where none waits;
// one line of the log is about all that wait.
func TestSurvivesHidesNothing(t *testing.T) {
	t.Parallel()
	const connections = 20
	timeout := unhurried(time.Second)
	w := newLasting(t, plan{})
	w.connect(w.route(), "--connect-timeout", timeout.String())
	var clients, targets []conn
	for range connections {
		client, target := w.open()
		send(t, client, "hello")
		receives(t, target, "hello")
		send(t, target, "there") // what has not been answered ends before that
		receives(t, client, "there")
		clients, targets = append(clients, client), append(targets, target)
	}
	w.suspend()
	for range 3 {
		began := time.Now()
		at := isRefused(t, w.address)
		if !inTimeAt(began, at, timeout+time.Second) {
			t.Errorf("a new connection is refused after %v, with --connect-timeout %v",
				at.Sub(began), timeout)
		}
	}
	w.revive("relay")
	for i, c := range clients {
		send(t, c, "again")
		receives(t, targets[i], "again")
	}
	w.carries()
	for _, p := range []*process{w.inlet, w.outlet} {
		if n := p.said(waitLine); n != 1 {
			t.Errorf("%v says %d times that connections wait", p.cmd, n)
		}
	}
}

func targetSaysLastWords(t *testing.T, _, target conn) {
	send(t, target, "last words")
	_ = target.Close()
}

func clientHearsLastWords(t *testing.T, client, _ conn) {
	receives(t, client, "last words")
	receivesEnd(t, client)
}
