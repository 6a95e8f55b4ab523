//go:build unix

package test

import (
	"io"
	"syscall"
	"testing"
	"time"
)

// TestNameIsHeld has two processes of one identity want one name: the one that has it keeps it
// while it serves, the other one is told, and gets it when the first has gone or stops, or by
// --replace.
func TestNameIsHeld(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	_, relay := me.startRelay()
	outlet := func(name string, more ...string) []string {
		return append(
			[]string{"outlet", "--relay", relay, "--name", "db", "--target", named(t, name)},
			more...)
	}
	reached := func(name string) { _ = reaches(t, me.inletTo("db@"+relay), name).Close() }
	first := me.start(outlet("1", "--drain", "10m")...)
	first.ready()
	const held = "another process of this identity has the name db"
	me.fails(notTrusted, held, outlet("2", "--no-wait")...)
	second := me.start(outlet("2")...)
	second.says(held)
	second.says("--replace")
	for range 5 {
		reached("1")
	}

	// One that stops leaves the name at once, and what is open goes on.
	open := reaches(t, me.inletTo("db@"+relay), "1")
	first.signal(syscall.SIGTERM)
	second.ready()
	reached("2")
	if _, err := io.WriteString(open, "still here"); err != nil {
		t.Fatal(err)
	}
	receives(t, open, "still here")
	_ = open.Close()
	first.ends(done)

	third := me.start(outlet("3", "--replace", "--no-wait")...)
	third.ready()
	second.says("another process with this identity has claimed the name")
	second.says(held)
	reached("3")

	// One that is killed is not waited for; it does not know of the one before.
	third.kill()
	began := time.Now()
	fourth := me.start(outlet("4", "--replace")...)
	fourth.ready()
	if took := time.Since(began); !inTime(began, 5*time.Second) {
		t.Errorf("it took %v to take the name of one that was killed", took)
	}
	reached("4")
	second.kill()
}

// TestNameWhereItListens has an outlet that listens be asked for by its name and by nothing else,
// in the short form and in the line that it prints, and one without a name by none.
func TestNameWhereItListens(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	p := me.start("outlet", "--listen", anywhere, "--name", "payroll", "--target", named(t, "payroll"))
	printed := wordBehind(t, p.ready(), "--to")
	at := hostPortOf(printed)
	if printed != step(at)+forwardTo("payroll")+toOutlet {
		t.Errorf("it prints %s", printed)
	}
	_, public := me.startOutlet(named(t, "public"))
	reaches(t, me.inletTo(printed), "payroll")
	reaches(t, me.inletTo("payroll@"+at), "payroll")
	reaches(t, me.inletTo(public), "public")
	ask := func(to string) []string {
		return []string{"inlet", "--no-wait", "--listen", anywhere, "--to", to}
	}
	me.fails(notTrusted, "it is to be asked for by name", ask(at)...)
	p.says("the peer asks without a name, and this node goes by one")
	me.fails(unreachable, "no outlet named public", ask("public@"+at)...)
	me.fails(unreachable, "no outlet named payroll", ask("payroll@"+public)...)
	me.saysHello(step(at) + forwardTo("payroll"))

	socket := t.TempDir() + "/socket"
	q := me.start(
		"outlet", "--listen", "unix:"+socket, "--name", "payroll", "--target", named(t, "socket"))
	printed = wordBehind(t, q.ready(), "--to")
	if printed != "payroll@unix:"+socket {
		t.Errorf("it prints %s", printed)
	}
	reaches(t, me.inletTo(printed), "socket")
}
