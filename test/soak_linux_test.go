package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/faultnet"
)

// The addresses that the name of an ordeal's relay may stand for. All have the same port.
const (
	nameOfRelay = "relay.example"
	addressOf1  = "127.0.0.1" // of near
	addressOf2  = "127.0.0.2" // of near2
	addressDead = "127.0.0.3" // where nobody answers, and nobody refuses
)

// connectByName starts the inlet. As root, the relay has a name for it.
func (o *ordeal) connectByName(flags []string) {
	o.t.Helper()
	if os.Geteuid() != 0 {
		o.t.Log("names move, and are half dead, only for root")
		o.connect(o.route(), flags...)
		return
	}
	port := netip.MustParseAddrPort(o.near.Addr()).Port()
	at := func(address string) string { return fmt.Sprintf("%s:%d", address, port) }
	near2, err := faultnet.Proxy(o.t.Context(), at(addressOf2), o.relay2At, faultnet.ProxyConfig{})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = near2.Close() })
	o.near2 = near2
	swallow(o.t, at(addressDead))
	o.names(addressOf1)
	u := o.from(unshared(`mount --bind "$HOME/hosts" /etc/hosts` + "\n" + `exec "$@"`))
	o.connected(u.start(append([]string{
		"inlet", "--listen", o.inletAt, "--to", "db@" + at(nameOfRelay),
	}, flags...)...))
}

// names has the relay's name stand for some addresses.
func (o *ordeal) names(addresses ...string) {
	o.t.Helper()
	text := ""
	for _, a := range addresses {
		text += a + " " + nameOfRelay + "\n"
	}
	// The file stays the same one, for it is mounted.
	if err := os.WriteFile(filepath.Join(o.home, "hosts"), []byte(text), 0o644); err != nil {
		o.t.Fatal(err)
	}
}

// harmsOfSystem are those that need Linux.
func (o *ordeal) harmsOfSystem() []harm {
	errors := []syscall.Errno{unix.EPERM, unix.EACCES, unix.ENOSYS}
	all := []harm{{"splice denied", func(r *rand.Rand) {
		o.restart(role(r), o.denied(errors[r.IntN(len(errors))], optional["splice"]).through)
	}}}
	if o.near2 == nil {
		return all
	}
	one := func(r *rand.Rand) string { return []string{addressOf1, addressOf2}[r.IntN(2)] }
	return append(all,
		harm{"name moved", func(r *rand.Rand) { o.names(one(r)) }},
		harm{"first address dead", func(r *rand.Rand) { o.names(addressDead, one(r)) }})
}

// swallowed is how long a connection takes that is not answered.
const swallowed = 100 * time.Millisecond

// swallow has an address swallow whatever comes to it: its queue of connections is full, and so
// the kernel does not answer.
func swallow(t testing.TB, address string) {
	t.Helper()
	at := netip.MustParseAddrPort(address)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	where := &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	if err := unix.Bind(fd, where); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.DialTimeout("tcp", address, unhurried(swallowed))
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}
