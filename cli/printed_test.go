package cli

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/route/transport"
)

// TestPrintedCommand has a shell and this program's own parser read back what an outlet prints,
// wherever it listens.
func TestPrintedCommand(t *testing.T) {
	shell := testenv.NeedTool(t, "sh")
	for _, address := range []string{
		"127.0.0.1:7000", "[::1]:7000", "[fe80::1%eth0]:7000", "unix:/run/sp.sock", "unix:a b",
		"unix:/home/me@host/it's  a (folder)/$HOME;#1", "unix:relative/@x", "unix:a\nb", "unix:\u202e",
		"unix:" + strings.Repeat("x", 103),
	} {
		want, err := transport.ParseListen(address, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", "db"} {
			event := daemon.Event{Portal: daemon.PortalStatus{Address: address}}
			out := config.Outlet{Entrance: config.Entrance{Name: name}}
			line := inletCommands(out, event)
			if strings.ContainsAny(line, "\n\u202e") {
				t.Errorf("%q: the line is none: %q", address, line)
			}
			said, err := exec.Command(shell, "-c", `printf '%s\0' `+line).Output()
			if err != nil {
				t.Fatal(err)
			}
			words := strings.Split(string(said), "\x00")
			to, err := config.Inlet{To: words[5:6]}.Routes()
			if words[4] != "--to" || err != nil || to[0][0] != want {
				t.Errorf("%q: %q leads to %v, %v", address, line, to, err)
			}
		}
	}
}

// TestReachedAtZone keeps a zone, without which nobody reaches a link-local address.
func TestReachedAtZone(t *testing.T) {
	at := netip.MustParseAddrPort("[fe80::1%eth0]:7000")
	if got := reachedAt(at.String(), ""); !strings.HasPrefix(got, "/ip6/fe80::1%eth0/tcp/7000/") {
		t.Errorf("got %s", got)
	}
}
