package test

import (
	"fmt"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// nobodyIsTold has workers talk through an inlet while something is changed, some times, with talks
// that go well after each, and fails the test unless all of them do.
func nobodyIsTold(t *testing.T, inlet string, times int, change func(n int)) {
	t.Helper()
	const workers = 2
	d, stop := under(t, inlet, workers, 1000, 1)
	for n := range times {
		d.awaitGood(t, 2*workers)
		change(n)
	}
	d.awaitGood(t, 2*workers)
	stop()
	t.Log(d)
	if n := d.told.Load(); n > 0 {
		t.Errorf("%d connections were told of an error, the first of %v", n, d.firstTold)
	}
}

// changes is how often something is changed: once, in .ci/run three times, and with SP_FULL=1 a
// hundred times.
func changes() int {
	return testenv.OfRun(1, 3, 100)
}

// TestUpHandsOver has the listeners of what is changed, nodes and all, go on: of those who connect
// meanwhile, none is refused or cut, and a free port stays the same.
func TestUpHandsOver(t *testing.T) {
	t.Parallel()
	for what, changed := range map[string]string{"inlet": "inlet.a", "outlet": "outlet.a"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			u := newPerson(t)
			f := newUpFile(u, "")
			f.set("outlet.a", "listen = 'unix:a.sock'\ntarget = '"+service(t, answerTalkOrComplain)+"'\n")
			f.set("inlet.a", fmt.Sprintf("listen = ':0'\nto = 'unix:%s/a.sock'\n", u.home))
			keys := f.tables[changed]
			p := f.start()
			inlet := p.line("inlet a", 1)
			nobodyIsTold(t, inlet, changes(), func(n int) {
				f.set(changed, fmt.Sprintf("%sconnect-timeout = '%ds'\n", keys, 20+n%2))
				f.reload(p)
			})
			if what == "inlet" {
				if again := p.line("inlet a", 2); again != inlet {
					t.Errorf("it listened at %s, and now at %s", inlet, again)
				}
			}
			p.stop()
			p.ends(done)
		})
	}
}
