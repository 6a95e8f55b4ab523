package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// noNewPrivileges is what the kernel says of a process that has confined itself.
func (p *process) noNewPrivileges() string {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "NoNewPrivs:")
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}

// isConfined waits until a process says what it has given up, and reports whether that is files.
func (p *process) isConfined() (files bool) {
	p.t.Helper()
	p.says("msg=confined")
	if p.noNewPrivileges() != "1" {
		p.t.Errorf("%v may gain privileges", p.cmd)
	}
	return p.said("msg=confined files=true") > 0
}

// TestConfined has all that goes on in a long life go on in processes that have confined
// themselves.
func TestConfined(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest, other := newPerson(t), newPerson(t)
		list := guest.file("allow", "# guests\n")
		host := newPerson(t)
		p := plan{who: host, relay: through, outlet: append([]string{"--allow-file", list}, confined...)}
		if through {
			p.relayOwner = newPerson(t)
			p.relayFlags = append([]string{"--allow", host.identifier()}, confined...)
			p.faults = true // and its address lasts
		}
		d := newTopology(t, p)
		files := d.outlet.isConfined()
		if through {
			d.relay.isConfined()
		}
		// A ticket is redeemed.
		ticket := d.must("ticket", "create", "--to", d.route(), "--expires", "10m")
		d.connected(
			guest.start(append([]string{"inlet", "--listen", anywhere, "--ticket", ticket}, confined...)...),
		)
		d.inlet.isConfined()
		d.carries()
		d.outlet.says(`msg="ticket redeemed"`)
		// A list is replaced.
		d.refuses(other, "not among the 1 allowed")
		guest.file("allow", guest.identifier()+"\n"+other.identifier()+"\n")
		d.outlet.says("the lists have changed")
		d.admits(other, confined...)
		// Keys are new, and remembered.
		d.must("identity", "rotate")
		d.outlet.says("the identity has a new key")
		other.must("identity", "rotate")
		d.inlet.says("the identity has a new key")
		d.carries()
		// A part of the way is new.
		if through {
			d.relay.kill()
			d.revive("relay")
			d.carries()
		}
		if !files {
			return
		}
		// What lies elsewhere is out of reach.
		elsewhere := other.file("elsewhere", other.identifier()+"\n")
		if err := os.Remove(list); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, list); err != nil {
			t.Fatal(err)
		}
		d.outlet.says("permission denied: the list read before stays in force")
		d.outlet.stop()
		d.outlet.ends(done)
	})
}

// TestConfinedRelay has a relay be able to read its own key, and who its user is, and not its
// user's key: neither where that is, nor under a name that it may read.
func TestConfinedRelay(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.identifier() // is made
	relay, _ := p.startRelay(confined...)
	files := relay.isConfined()
	p.must("identity", "rotate", p.relayKeyFile())
	relay.says("the identity has a new key")
	p.must("identity", "create", "--force")
	relay.says("the lists have changed")
	if !files {
		return
	}
	for i, path := range []string{p.relayKeyFile(), p.publicFile()} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(p.keyFile(), path); err != nil {
			t.Fatal(err)
		}
		relay.saysTimes("permission denied", i+1)
	}
	if relay.said(p.publicFile()+": permission denied") == 0 {
		t.Error("it may read what a link beside its user's Identifier leads to")
	}
}

// TestConfinedByName has a confined inlet dial a far end by its name, when that is there at last,
// and a bridge its next hop.
func TestConfinedByName(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.identifier()
	at := testkit.Address(t)
	bridge, bridgeAt := p.startBridge(at, confined...)
	bridge.isConfined()
	_, port, _ := strings.Cut(at, ":")
	inlet := p.start(
		append([]string{"inlet", "--listen", anywhere, "--to", "localhost:" + port}, confined...)...)
	inlet.isConfined()
	target := listen(t)
	outlet := p.start("outlet", "--listen", at, "--target", target.Addr().String())
	outlet.ready()
	w := &topology{person: p, target: target, address: inlet.ready()}
	w.carries()
	p.saysHello(step(bridgeAt) + toChannel + step(at))
}

// TestNotConfined is what --no-sandbox is for.
func TestNotConfined(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	relay, _ := p.startRelay("--no-sandbox", "--log-level", "debug")
	if relay.noNewPrivileges() != "0" || relay.said("msg=confined") > 0 {
		t.Error("it is confined")
	}
	// A folder that is not there yet is made before: nothing can be made where nothing is.
	relay, _ = p.startRelay(confined...)
	relay.isConfined()
	if _, err := os.Stat(filepath.Join(p.home, ".local", "state", "sp")); err != nil {
		t.Error(err)
	}
}
