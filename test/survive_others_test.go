//go:build unix

package test

import (
	"io"
	"syscall"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// answered opens a connection in which both ends have said something: what has not been answered
// ends with its link.
func (w *topology) answered(t *testing.T) (client, target conn) {
	t.Helper()
	client, target = w.open()
	send(t, client, "hello")
	receives(t, target, "hello")
	send(t, target, "there")
	receives(t, client, "there")
	return client, target
}

// TestSurvivesOnStdio has the one connection of an inlet on stdin and stdout outlive the relay, as
// that of an ssh with a ProxyCommand does.
func TestSurvivesOnStdio(t *testing.T) {
	t.Parallel()
	w := newLasting(t, plan{})
	p, stdin, target := w.onStdio()
	w.inlet = p
	send(t, target, "there")
	testkit.Eventually(t, "the inlet has heard it", func() bool {
		return p.stdout.String() == "there"
	})
	w.suspend()
	if _, err := io.WriteString(stdin, "meanwhile"); err != nil {
		t.Fatal(err)
	}
	send(t, target, ", and back")
	w.revive("relay")
	receives(t, target, "meanwhile")
	_ = stdin.Close()
	receivesEnd(t, target)
	_ = target.Close()
	p.ends(done)
	if out := p.stdout.String(); out != "there, and back" {
		t.Errorf("stdout has %q", out)
	}
}

// TestSurvivesNoTrust has one side trust the other no more while there is no relay: what waits
// there ends at once, and nothing that was said meanwhile arrives when there is a relay again.
func TestSurvivesNoTrust(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"inlet", "outlet"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			guest, host := survivor(t), survivor(t)
			friends := host.file("friends", guest.identifier()+"\n"+host.identifier()+"\n")
			hosts := guest.file("friends", host.identifier()+"\n")
			w := newLasting(t, plan{who: host, outlet: []string{"--allow-file", friends}})
			w.connected(guest.start("inlet", "--listen", anywhere, "--to", w.route(),
				"--allow-file", hosts))
			client, target := w.answered(t)
			w.suspend()
			send(t, client, "secret of the client's")
			send(t, target, "secret of the service's")
			side, mine, theirs := w.outlet, target, client
			if who == "inlet" {
				guest.file("friends", "# nobody\n")
				side, mine, theirs = w.inlet, client, target
			} else {
				host.file("friends", host.identifier()+"\n")
			}
			if e := receivesReset(t, mine); e.read > 0 {
				t.Errorf("%d bytes have arrived", e.read)
			}
			side.says(lostLine)
			w.revive("relay")
			if who == "inlet" { // the service cannot know it, and waits
				abandon(theirs)
				return
			}
			if e := receivesReset(t, theirs); e.read > 0 {
				t.Errorf("%d bytes have arrived", e.read)
			}
		})
	}
}

// TestSurvivesNameOfAnother has a stranger take the name on a relay that was restarted, before the
// outlet does: the connection waits until he has gone, and goes on then.
func TestSurvivesNameOfAnother(t *testing.T) {
	t.Parallel()
	me := survivor(t)
	relay, at := me.startRelay("--allow-anyone")
	w := newTopology(t, plan{who: me, relay: true, relayAt: at, inlets: 1})
	w.relay = relay
	client, target := w.answered(t)
	w.suspend()
	w.outlet.signal(syscall.SIGSTOP)
	w.revive("relay")
	stranger := newPerson(t)
	p := stranger.startNamed(w.relayAt, "db", service(t, echo))
	const turnedAway = "the far end left when it had seen"
	for n := range 4 { // some of them are asked about new connections
		p.saysAgain(turnedAway, n)
	}
	send(t, client, "still there?")
	p.kill()
	w.outlet.signal(syscall.SIGCONT)
	receives(t, target, "still there?")
	send(t, target, "yes")
	receives(t, client, "yes")
	_ = client.Close()
	receivesEnd(t, target)
}

// TestSurvivesSharedRelayKilled kills the only relay on which outlets share a name, and starts it
// again. Inlets are there before any of them, and are told that nobody has the name: that is no
// word about a process.
func TestSurvivesSharedRelayKilled(t *testing.T) {
	t.Parallel()
	const connections = 6
	me := survivor(t)
	_, at := me.startRelay()
	target := steadyService(t)
	outlets := []*process{
		me.startNamed(at, "db", target, "--share"), me.startNamed(at, "db", target, "--share"),
	}
	inlet := me.start("inlet", "--listen", anywhere, "--to", "db@"+at)
	c := newChorus(t, connections, steadyPace(connections), inlet.ready())
	for range testenv.OfFull(1, 5) {
		for _, p := range outlets {
			p.signal(syscall.SIGSTOP)
		}
		const nobody = "no outlet named db"
		told := inlet.said(nobody)
		me.restart(0)
		inlet.saysAgain(nobody, told)
		for _, p := range outlets {
			p.signal(syscall.SIGCONT)
		}
		c.goesOn()
	}
	c.ends()
}
