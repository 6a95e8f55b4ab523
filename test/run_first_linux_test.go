package test

import (
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// TestRunIsFirst has sp run be the first process of a container: what has lost its parent there is
// buried when it ends, and the command's exit code is still sp's.
func TestRunIsFirst(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	unshare := testenv.NeedTool(t, "unshare")
	u := newPerson(t)
	_, to := u.startOutlet(service(t, echo))
	cmd := u.program(unshare, "--pid", "--fork", "--mount-proc", u.binary, "run", "--to", "x="+to,
		"--", "sh", "-c", `lost=$( (sleep 0.02 >/dev/null & echo $!) ); `+
			`while [ -e /proc/$lost ]; do sleep 0.02; done; echo "$lost" is buried; exit 7`)
	p := start(t, cmd)
	if code, err := p.exitCode(); err != nil || code != 7 {
		t.Fatalf("exit code %d, %v; want 7", code, err)
	}
	if !strings.Contains(p.stdout.String(), "is buried") {
		t.Errorf("it says %q", p.stdout.String())
	}
}
