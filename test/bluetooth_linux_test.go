package test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// TestBluetooth has the test below run on a virtual machine with two radios that hear each other.
// It is with SP_CI=1, with SP_FULL=1, and where the processor runs such a machine by itself.
func TestBluetooth(t *testing.T) {
	if !testenv.CI() && !testenv.Full() && !hasKVM() {
		t.Skip("the machine takes a minute without KVM: it is with SP_CI=1 or SP_FULL=1")
	}
	if raceDetector {
		t.Skip("an emulated machine is too slow for the race detector: TestBluetooth is without")
	}
	m := newVirtualMachine(t)
	t.Parallel()
	t.Log(m.run("TestByRadio", unhurried(radioPatience)))
}

const (
	// radioPatience is for a machine with radios to start, and for all that is tried there.
	radioPatience = 4 * time.Minute

	// radio is where the roles listen that are reached by radio: the other adapter dials.
	radio = "ble://hci1:0"

	// radioBytes are sent each way. An emulated radio on an emulated machine is slow.
	radioBytes = 24 << 10
)

// radioPlaces are where a link by radio may be in a route, besides those of other transports.
var radioPlaces = map[string]func(u person, target string) (node string){
	// inlet ═ble═ bridge ──quic── outlet: BLE -> UDP -> TCP
	"into a bridge to UDP": func(u person, target string) string {
		outlet := nodeOf(u, u.outletAt("quic://127.0.0.1:0", target))
		to := "quic://" + strings.Split(outlet, "/")[2] + ":" + strings.Split(outlet, "/")[4]
		bridge := u.start("bridge", "--next", to, "--listen", radio)
		return nodeOf(u, bridge.ready()) + toChannel + outlet
	},
}

// TestByRadio is what TestBluetooth runs there.
func TestByRadio(t *testing.T) {
	if os.Getenv(radioVariable) == "" {
		t.Skip("TestBluetooth runs this on a machine with radios")
	}
	for _, place := range wrappedPlaces { // into a bridge: BLE -> TCP -> TCP
		t.Run(place.name, func(t *testing.T) {
			u := newPerson(t)
			m := newMirror(t, radioBytes)
			byRadio(u, m, place.build(u, radio, nil, nil, m.address))
		})
	}
	for name, build := range radioPlaces {
		t.Run(name, func(t *testing.T) {
			u := newPerson(t)
			m := newMirror(t, radioBytes)
			byRadio(u, m, build(u, m.address))
		})
	}
	t.Run("refusals", refusedByRadio)
}

// byRadio tries all that may happen to a connection on the way to an outlet's node.
func byRadio(u person, m *mirror, node string) {
	t := u.t.(*testing.T)
	began := time.Now()
	inlet := u.inletTo(node + toOutlet)
	if err := m.both(dial(t, inlet)); err != nil {
		t.Error("client ends first:", err)
	}
	t.Logf("%d KiB each way after %v", radioBytes>>10, time.Since(began))
	if err := m.afterEnd(dial(t, inlet), radioBytes); err != nil {
		t.Error("service ends first:", err)
	}
	c := dial(t, inlet)
	send(t, c, string(askReset))
	receivesReset(t, c)

	manyAreEchoed(t, inlet, 5)
	if got := u.must(sendTo(node + toAgain + toUppercase)...); got != "HELLO" {
		t.Errorf("in a nested channel: %q", got)
	}
}

// refusedByRadio is what is said where nothing comes of a link by radio.
func refusedByRadio(t *testing.T) {
	u := newPerson(t)
	p := u.start("outlet", "--listen", radio, "--target", anywhere)
	node := nodeOf(u, wordBehind(t, p.ready(), "--to"))
	u.fails(unreachable, "no service named nothing", sendTo(node+toChannel+"/service/nothing")...)
	nobody := strings.Replace(node, "/psm/128", "/psm/255", 1)
	u.fails(unreachable, "refused", sendTo(nobody+toChannel+toUppercase)...)
	u.fails(unreachable, "does not answer",
		sendTo("/ble/00:AA:01:09:00:09/psm/128"+toChannel+toUppercase)...)
	r := u.run("outlet", "--listen", "ble://hci7:0", "--target", anywhere)
	if !strings.Contains(r.stderr, "no Bluetooth adapter hci7, but") {
		t.Errorf("an adapter that is not there: %s", r.stderr)
	}
}
