//go:build unix

package test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// TestTicketBringsNobodyBack takes somebody out of an allow file whose inlet has a ticket that was
// not needed so far.
func TestTicketBringsNobodyBack(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest := newPerson(t)
		list := guest.file("allow", guest.identifier()+"\n")
		d := newDoor(t, through, "--allow-file", list)
		ticket := d.must("ticket", "create", "--to", d.route(), "--expires", "1h")
		with := []string{"inlet", "--listen", anywhere, "--ticket", ticket}
		d.connected(guest.start(with...))
		d.outlet.says("ticket spent, and nobody let in for it")
		d.outlet.says("identifier=" + guest.identifier())
		f := d.transfer()
		since := time.Now()
		guest.file("allow", "# nobody\n")
		f.isCut(since)
		d.outlet.says("already spent: shown by " + guest.identifier()) // the inlet tries again
		d.turnsAway(guest, "already spent: shown by "+guest.identifier(), with...)
		guest.contains(list, "# nobody\n")
	})
}

// TestTicketAndCredentialRevoked takes back what was given away.
func TestTicketAndCredentialRevoked(t *testing.T) {
	t.Parallel()
	guest, authority := newPerson(t), newPerson(t)
	list, deny := guest.file("allow", ""), guest.file("deny", "")
	d := newDoor(
		t, false, "--allow-file", list, "--deny-file", deny, "--authority", authority.identifier())
	ticket := d.must("ticket", "create", "--to", d.route(), "--expires", "1h")
	serial := d.must("ticket", "revoke", "--allow-file", list, ticket)
	if r := d.run("ticket", "revoke", "--allow-file", list, ticket); r.code != failed ||
		!strings.Contains(r.stderr, "already spent: revoked at") {
		t.Errorf("a second time: %+v", r)
	}
	d.turnsAway(guest, "ticket "+serial+": already spent: revoked at",
		"inlet", "--listen", anywhere, "--ticket", ticket)

	token := guest.file("token", authority.vouch(guest.identifier(), "--attr", "role=db"))
	d.admits(guest, "--credential", token)
	d.outlet.says(`msg="session began"`)
	shown := authority.must("credential", "show", token)
	serial = wordBehind(t, shown, "serial")
	d.outlet.says("serial=" + serial)
	f := d.transfer()
	since := time.Now()
	if said := authority.must("credential", "revoke", "--deny-file", deny, serial); said != serial {
		t.Errorf("revoke says %q", said)
	}
	f.isCut(since)
	d.outlet.says(`msg="session ended"`)
	d.refuses(guest, "revoked by "+deny+":1: its serial number is "+serial, "--credential", token)
	another := guest.file("another", authority.vouch(guest.identifier(), "--attr", "role=db"))
	d.admits(guest, "--credential", another)
}

// TestRotationsAtOnce has several processes give one identity a new key: what each reports is there
// in the end.
func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.identifier()
	const people = 6
	var wg sync.WaitGroup
	codes := make([]int, people)
	for n := range people {
		wg.Go(func() {
			cmd := p.command("identity", "rotate")
			_ = cmd.Run()
			codes[n] = cmd.ProcessState.ExitCode()
		})
	}
	wg.Wait()
	reported := 0
	for _, code := range codes {
		if code == done {
			reported++
		}
	}
	id, err := identity.Load(p.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	if got := id.History().Len() - 1; got != reported || reported != people {
		t.Errorf("%d of %d rotations are reported, and %d are in the history", reported, people, got)
	}
}

// TestFilesOfOthers has each file that decides something be one that others can change: alone, or
// by its folder.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	guest := newPerson(t)
	guestID := guest.identifier() // once, before the parts of the test run beside each other
	for what, spoil := range map[string]func(u person, dir string) error{
		"allow": func(_ person, dir string) error {
			return os.Chmod(filepath.Join(dir, "allow"), 0o666)
		},
		"deny": func(_ person, dir string) error {
			return os.Chmod(filepath.Join(dir, "deny"), 0o620)
		},
		"seen": func(_ person, dir string) error {
			return os.Chmod(filepath.Join(dir, "seen"), 0o602)
		},
		"folder": func(_ person, dir string) error { return os.Chmod(dir, 0o777) },
		"spent": func(_ person, dir string) error {
			return spoiltFolder(filepath.Join(dir, "allow.spent"))
		},
		"key": func(u person, _ string) error { return os.Chmod(u.keyFile(), 0o640) },
		"key folder": func(u person, _ string) error {
			return os.Chmod(filepath.Dir(u.keyFile()), 0o770)
		},
		"home":        func(u person, _ string) error { return os.Chmod(u.home, 0o777) },
		"not spoiled": nil,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			u := newPerson(t)
			u.identifier()
			dir := filepath.Join(u.home, "lists")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			u.file("lists/allow", guestID+"\n")
			u.file("lists/deny", "")
			u.file("lists/seen", "sp-seen-1\n")
			args := []string{
				"outlet", "--listen", anywhere, "--target", "127.0.0.1:1",
				"--allow-file", filepath.Join(dir, "allow"),
				"--deny-file", filepath.Join(dir, "deny"), "--seen", filepath.Join(dir, "seen"),
			}
			if spoil == nil {
				u.start(args...).ready()
				return
			}
			if err := spoil(u, dir); err != nil {
				t.Fatal(err)
			}
			u.fails(failed, "others", args...)
		})
	}
}

func spoiltFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777)
}

// TestListSpoilt lets others write a list while an outlet has read it: the one before stays in
// force.
func TestListSpoilt(t *testing.T) {
	t.Parallel()
	guest, intruder := newPerson(t), newPerson(t)
	list := guest.file("allow", guest.identifier()+"\n")
	d := newDoor(t, false, "--allow-file", list)
	guest.file("allow", intruder.identifier()+"\n")
	d.outlet.says("the lists have changed")
	if err := os.Chmod(list, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, []byte(guest.identifier()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.outlet.says("the list read before stays in force")
	d.refuses(guest, "not among the 1 allowed")
}

// TestUnixSocketsOfOthers looks at who may connect to the sockets that sp listens at.
func TestUnixSocketsOfOthers(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	sockets, err := os.MkdirTemp("", "sp") // short enough for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	for mode, flags := range map[fs.FileMode][]string{0o600: nil, 0o660: {"--socket-mode", "0660"}} {
		at := filepath.Join(sockets, fmt.Sprintf("s%o", mode))
		p.start(p.relayAt("unix:"+at, flags...)...).ready()
		info, err := os.Stat(at)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode %v, %v, want %04o", info.Mode(), err, mode)
		}
		p.fails(failed, "address already in use", p.relayAt("unix:"+at)...)
		if c, err := net.Dial("unix", at); err != nil {
			t.Error(err)
		} else {
			_ = c.Close()
		}
	}
	for _, mode := range []string{"0400", "0700", "rw", "1777"} {
		p.fails(usageWrong, "--socket-mode", p.relayAt(anywhere, "--socket-mode", mode)...)
	}
}
