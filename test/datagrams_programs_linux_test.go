package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// TestDNS asks dnsmasq through a portal, with dig: short answers and one of 3 KB, one at a time and
// many at once.
func TestDNS(t *testing.T) {
	t.Parallel()
	dig, dnsmasq := testenv.NeedTool(t, "dig"), testenv.NeedTool(t, "dnsmasq")
	where := testkit.Address(t)
	_, port, _ := net.SplitHostPort(where)
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=",
		"--port=" + port, "--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-",
		"--address=/example.test/192.0.2.7", "--edns-packet-max=4096", "--user=",
	}
	const parts = 15
	for n := range parts {
		args = append(args, fmt.Sprintf("--txt-record=large.test,%03d%s", n, strings.Repeat("x", 200)))
	}
	server := start(t, exec.Command(dnsmasq, args...))
	server.says("started")
	w := newTopology(t, plan{relay: true, target: "udp://" + where})
	w.inletAt = anywhereUDP
	w.connect(w.route())
	_, port, _ = net.SplitHostPort(strings.TrimPrefix(w.address, "udp://"))
	ask := func(more ...string) (string, error) {
		out, err := exec.Command(dig, append([]string{
			"@127.0.0.1", "-p", port, "+notcp", "+ignore", "+tries=5", "+timeout=20", "+short",
		}, more...)...).CombinedOutput()
		return string(out), err
	}
	large, err := ask("+bufsize=4096", "large.test", "TXT")
	if n := strings.Count(large, strings.Repeat("x", 200)); n != parts || err != nil {
		t.Errorf("%d of %d parts, %v: %s", n, parts, err, large)
	}
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if out, err := ask("a.example.test", "A"); out != "192.0.2.7\n" || err != nil {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	asking.Wait()
}

// TestWireGuard has a tunnel of WireGuard's go through a portal, between networks that are not
// joined, and a megabyte over TCP through that.
func TestWireGuard(t *testing.T) {
	t.Parallel()
	wg := testenv.NeedTool(t, "wg")
	n := newNetworks(t)
	const far, near = "10.78.5.2", "10.78.5.1"
	where := testkit.Address(t)
	w := newTopology(t, plan{relay: true, networks: n, target: "udp://" + where})
	w.inletAt = anywhereUDP
	w.connect(w.route())
	_, port, _ := net.SplitHostPort(where)
	nearKey, nearPublic := wireGuardKey(t, wg)
	farKey, farPublic := wireGuardKey(t, wg)
	in := wireGuard(t, wg, n.near, near, nearKey, "peer", nearPeer(farPublic, w.address))
	out := wireGuard(t, wg, n.far, far, farKey, "listen-port", port+" peer "+nearPublic+
		" allowed-ips "+near+"/32")
	t.Logf("interfaces %s and %s", in, out)
	const size = 1 << 20
	var l net.Listener
	var err error
	inNamespace(t, n.far, func() { l, err = net.Listen("tcp", far+":0") })
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func(c conn) { _ = sendStream(c, 7, size) })
	var c net.Conn
	inNamespace(t, n.near, func() { c, err = net.Dial("tcp", l.Addr().String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testkit.Hurry(t, c)
	if got, err := receiveStream(c); err != nil || got != digestOf(7, size) {
		t.Errorf("%d bytes, %v", got.size, err)
	}
}

func nearPeer(public, inlet string) string {
	return public + " allowed-ips 10.78.5.0/24 endpoint " + strings.TrimPrefix(inlet, "udp://")
}

// wireGuardKey returns a file with a new private key, and the public one.
func wireGuardKey(t *testing.T, wg string) (file, public string) {
	private := must(t, exec.Command(wg, "genkey"))
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(wg, "pubkey")
	cmd.Stdin = strings.NewReader(string(private))
	return file, strings.TrimSpace(string(must(t, cmd)))
}

// wireGuard makes an interface in a namespace, of the kernel's or of wireguard-go.
func wireGuard(t *testing.T, wg, namespace, address, key, what, more string) (name string) {
	name = fmt.Sprintf("sp%d-%d", os.Getpid()%1000000, networkCount.Add(1))
	kernel := exec.Command("ip", "-n", namespace, "link", "add", name, "type", "wireguard")
	if kernel.Run() != nil {
		program := testenv.NeedTool(t, "wireguard-go")
		if _, err := os.Stat("/dev/net/tun"); err != nil {
			testenv.Skip(t, "needs /dev/net/tun, or WireGuard in the kernel")
		}
		cmd := exec.Command(program, "-f", name)
		cmd.Env = append(os.Environ(), "WG_PROCESS_FOREGROUND=1")
		runIn(t, cmd, namespace)
		start(t, cmd)
		socket := filepath.Join("/var/run/wireguard", name+".sock")
		t.Cleanup(func() { _ = os.Remove(socket) }) // which outlives who is killed
		eventually(t, "wireguard-go listens", func() bool {
			c, err := net.Dial("unix", socket)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	set := exec.Command(wg, append([]string{"set", name, "private-key", key, what},
		strings.Fields(more)...)...)
	runIn(t, set, namespace)
	must(t, set)
	ip(t, "-n", namespace, "address", "add", address+"/24", "dev", name)
	ip(t, "-n", namespace, "link", "set", name, "mtu", "1280", "up")
	return name
}
