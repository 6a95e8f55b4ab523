//go:build unix

package test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// recorder keeps what each direction of each connection of a proxy carried.
type recorder struct {
	mu      sync.Mutex
	streams map[string]*bytes.Buffer
}

func (r *recorder) tap(side string) func(int, faultnet.Direction, []byte) {
	return func(conn int, dir faultnet.Direction, p []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		key := fmt.Sprintf("%s, connection %d, %v", side, conn, dir)
		if r.streams[key] == nil {
			r.streams[key] = new(bytes.Buffer)
		}
		r.streams[key].Write(p)
	}
}

// secretsOf are the ways in which a person may show on the wire.
func (u person) secretsOf(who, file, identifier string) map[string][]byte {
	u.t.Helper()
	text := u.must("identity", "show", "--json", file)
	var shown struct {
		PublicKey []byte `json:"public_key"`
	}
	if err := json.Unmarshal([]byte(text), &shown); err != nil || len(shown.PublicKey) != 32 {
		u.t.Fatalf("identity show --json: %v\n%s", err, text)
	}
	hash, err := hex.DecodeString(identifier[1:])
	if err != nil || len(hash) != 32 {
		u.t.Fatalf("Identifier %s: %v", identifier, err)
	}
	asText := func(e *base64.Encoding) []byte {
		return []byte(e.EncodeToString(shown.PublicKey)[:40])
	}
	return map[string][]byte{
		who + "'s Identifier":          hash,
		who + "'s Identifier, as text": []byte(identifier[1:]),
		who + "'s public key":          shown.PublicKey,
		who + "'s public key, as hex":  []byte(hex.EncodeToString(shown.PublicKey)),
		who +
			"'s public key, as base64": asText(base64.RawStdEncoding),
		who +
			"'s public key, as URL text": asText(base64.RawURLEncoding),
	}
}

// TestRelayWire looks at all that comes to a relay and goes from it, on both of its sides: nothing
// there tells what the application says, who the two ends are, or what the outlet is called but for
// the name that the relay knows it by.
func TestRelayWire(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--mux"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			const name = "ledger-7f31c0"
			me := newPerson(t)
			client, clientID := me.identity("client")
			server, serverID := me.identity("server")
			seen := &recorder{streams: make(map[string]*bytes.Buffer)}

			_, address := me.startRelay("--allow", serverID)
			inletSide := proxy(t, address, faultnet.ProxyConfig{Tap: seen.tap("inlet's side")})
			outletSide := proxy(t, address, faultnet.ProxyConfig{Tap: seen.tap("outlet's side")})
			marker := []byte("the application's own words, ")
			me.startNamed(outletSide.Addr(), name, service(t, echo), append([]string{
				"--identity", server, "--allow", clientID,
			}, flags...)...)
			inlet := me.inletTo(name+"@"+inletSide.Addr(), "--identity", client,
				"--allow", serverID)
			for range 3 {
				c := dial(t, inlet)
				if err := echoes(c, string(bytes.Repeat(marker, 2000))); err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
			}
			to := step(inletSide.Addr()) + forwardTo(name) + toUppercase
			me.must("send", "--to", to, "--identity", client, "--allow", serverID, string(marker))

			secrets := me.secretsOf("the inlet", client, clientID)
			for what, secret := range me.secretsOf("the outlet", server, serverID) {
				secrets[what] = secret
			}
			secrets["the application's data"] = marker
			secrets["the application's data, in upper case"] = bytes.ToUpper(marker)
			seen.search(t, secrets, name)
		})
	}
}

// search looks for secrets, and for name without the prefix that a relay knows it by.
func (r *recorder) search(t *testing.T, secrets map[string][]byte, name string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	total, named := 0, 0
	for where, stream := range r.streams {
		b := stream.Bytes()
		total += len(b)
		for what, secret := range secrets {
			if at := bytes.Index(b, secret); at >= 0 {
				t.Errorf("%s: %s at byte %d", where, what, at)
			}
		}
		known := bytes.Count(b, []byte("forward_to_"+name))
		named += known
		if bytes.Count(b, []byte(name)) != known {
			t.Errorf("%s: the outlet's name without forward_to_", where)
		}
	}
	t.Logf("%d bytes in %d streams, the relay's name for the outlet in them %d times", total,
		len(r.streams), named)
	if total == 0 || named == 0 {
		t.Error("the capture is empty")
	}
}

// TestStalledClient has one client of an inlet read nothing, and another's service, while others
// get all they want through the same relay and outlet, as fast as without them.
func TestStalledClient(t *testing.T) {
	t.Parallel()
	const slack = time.Second // for what else this machine does
	size := testenv.OfFull[int64](16<<20, 64<<20)
	for _, flags := range [][]string{nil, {"--mux"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			m := newMirror(t, size)
			w := newTopology(t, plan{relay: true, target: m.address, inlets: 2, outlet: flags})
			same, another := w.addresses[0], w.addresses[1]
			begin := time.Now()
			alone := [...]time.Duration{m.together(t, same, another), m.together(t, same, another)}
			stalled := stalledClient(t, same)
			// more than fits between it and its service, where each socket may keep 32 MiB and more
			stop := stalledService(t, same, 32*size)
			beside := [...]time.Duration{m.together(t, same, another), m.together(t, same, another)}
			t.Logf("2 × %d MiB took %v alone and %v beside those who do not read", size>>20, alone,
				beside)
			best, worst := min(beside[0], beside[1]), max(alone[0], alone[1])
			if best > 2*worst+pulse.Stretch(slack, begin) {
				t.Errorf("%v beside those who do not read, and %v without them", best, worst)
			}
			stop()
			// The client has lost nothing by its patience, either.
			_ = stalled.SetDeadline(time.Now().Add(patience))
			if n, err := io.Copy(io.Discard, stalled); n != size-1 || err != nil {
				t.Errorf("the stalled client got %d bytes in the end, %v", 1+n, err)
			}
		})
	}
}

// together gets the mirror's stream through each of the inlets at once, and returns how long that
// took.
func (m *mirror) together(t *testing.T, inlets ...string) time.Duration {
	t.Helper()
	begin := time.Now()
	var tasks sync.WaitGroup
	for _, inlet := range inlets {
		c := dial(t, inlet)
		tasks.Go(func() {
			if err := m.receive(c); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	return time.Since(begin)
}

// stalledClient asks for the service's stream, and takes one byte of it: its way is up, and fills
// from here on.
func stalledClient(t *testing.T, inlet string) conn {
	t.Helper()
	c := dial(t, inlet)
	if _, err := c.Write([]byte{askSend}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c
}

// stalledService sends to a service that does not read, until the returned function is called.
func stalledService(t *testing.T, inlet string, size int64) (stop func()) {
	t.Helper()
	c := dial(t, inlet)
	if _, err := c.Write([]byte{askStall}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if sendStream(c, toMirror, size) == nil {
			t.Errorf("%d bytes went to a service that does not read", size)
		}
	}()
	return func() {
		_ = c.SetDeadline(time.Unix(1, 0))
		<-ended
	}
}

// TestMuxConnections counts the connections that an outlet with --mux makes to its relay while many
// clients are served: one for the session, and one for all that goes through it. A session that is
// some seconds old may have made another one, to try what the way bears.
func TestMuxConnections(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	m := newMirror(t, 1<<20)
	_, relay := me.startRelay()
	var mu sync.Mutex
	made := make(map[int]bool)
	counter := proxy(t, relay, faultnet.ProxyConfig{Tap: func(conn int, _ faultnet.Direction,
		_ []byte,
	) {
		mu.Lock()
		defer mu.Unlock()
		made[conn] = true
	}})
	me.startNamed(counter.Addr(), "db", m.address, "--mux")
	mu.Lock()
	most := max(len(made), 2) + 1 // a slow machine's outlet may have begun anew
	mu.Unlock()
	inlet := me.inletTo("db@" + relay)
	var tasks sync.WaitGroup
	for range 20 {
		c := dial(t, inlet)
		tasks.Go(func() {
			if err := m.both(c); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(made) > most {
		t.Errorf("the outlet made %d connections to its relay, want %d", len(made), most)
	}
}

// TestRelayMisleads has somebody at the relay lead an inlet to another outlet of the same person:
// the wrong service of the right owner. The inlet sends it nothing.
func TestRelayMisleads(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	asked, other := newMirror(t, 0), newMirror(t, 0)
	_, relay := me.startRelay()
	me.startNamed(relay, "salt", asked.address)
	me.startNamed(relay, "sand", other.address)
	liar := service(t, func(c conn) {
		onward, err := net.Dial("tcp", relay)
		if err != nil {
			return
		}
		defer onward.Close()
		opening := make([]byte, 4<<10)
		n, err := c.Read(opening)
		if err != nil {
			return
		}
		_, _ = onward.Write(bytes.Replace(opening[:n], []byte("salt"), []byte("sand"), 1))
		go func() { _, _ = io.Copy(onward, c) }()
		_, _ = io.Copy(c, onward)
	})
	me.fails(4, "does not go by that name", "inlet", "--no-wait", "--listen", anywhere,
		"--to", "salt@"+liar)
	if len(other.served) > 0 {
		t.Error("the other outlet's target has been connected to")
	}
}
