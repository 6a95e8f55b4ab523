//go:build unix

package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/internal/webtest"
)

// watched has a process tell metrics at a free port.
var watched = []string{"--metrics", anywhere}

// metricsAt returns where a process tells metrics.
func (p *process) metricsAt() string {
	p.t.Helper()
	const text = `msg="metrics are told" address=`
	p.says(text)
	_, rest, _ := strings.Cut(p.linesWith(text)[0], text)
	return "http://" + strings.Fields(rest)[0]
}

// asks returns what a process says about one of the pages at which it is watched.
func (p *process) asks(page string) (code int, body string) {
	p.t.Helper()
	return webtest.Ask(p.t, http.MethodGet, p.metricsAt()+page, "")
}

// metrics returns the metrics of a process, by their names with labels.
func (p *process) metrics() map[string]float64 {
	p.t.Helper()
	code, text := p.asks("/metrics")
	if code != http.StatusOK {
		p.t.Fatalf("%d %s", code, text)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil && !strings.HasPrefix(line, "#") {
			p.t.Fatalf("%q: %v", line, err)
		}
		all[name] = v
	}
	return all
}

// TestMetricsArriveWhole has somebody ask who does not keep the connection: its end is an end.
func TestMetricsArriveWhole(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	p, _ := u.startRelay(watched...)
	c, err := net.Dial("tcp", strings.TrimPrefix(p.metricsAt(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	testkit.Hurry(t, c)
	testkit.Write(t, c, "GET /metrics HTTP/1.0\r\n\r\n")
	b, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(b), "200 OK") {
		t.Errorf("got %d bytes, and %v", len(b), err)
	}
}

// has waits until metrics have these values.
func (p *process) has(want map[string]float64) {
	p.t.Helper()
	var got map[string]float64
	defer func() {
		for name, value := range want {
			if got[name] != value {
				p.t.Errorf("%s is %v, and not %v", name, got[name], value)
			}
		}
	}()
	testkit.Eventually(p.t, "the metrics", func() bool {
		got = p.metrics()
		for name, value := range want {
			if got[name] != value {
				return false
			}
		}
		return true
	})
}

// carried is what a process has counted that carries connections as role says.
func carried(role string, open, all, toService, toClient int) map[string]float64 {
	label := fmt.Sprintf("role=%q", role)
	return map[string]float64{
		"sp_connections_open{" + label + "}":                   float64(open),
		"sp_connections_total{" + label + "}":                  float64(all),
		"sp_bytes_total{" + label + `,direction="to_service"}`: float64(toService),
		"sp_bytes_total{" + label + `,direction="to_client"}`:  float64(toClient),
		"sp_open_seconds_count{" + label + "}":                 float64(all),
		"sp_open_seconds_bucket{" + label + `,le="+Inf"}`:      float64(all),
	}
}

// TestMetrics has what processes count be exact for a load that is known, while connections are
// open and after it, in processes that have confined themselves.
func TestMetrics(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		flags := append(confined, watched...)
		w := newTopology(t, plan{relay: through, flags: flags, inlets: 1})
		roles := map[string]*process{"inlet": w.inlet, "outlet": w.outlet}
		const n, up, down = 5, 100_000, 70_000
		var clients, targets []conn
		for range n {
			client, target := w.open()
			go func() { _ = sendStream(client, 1, up) }()
			go func() { _ = sendStream(target, 2, down) }()
			if _, err := io.CopyN(io.Discard, target, up); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, client, down); err != nil {
				t.Fatal(err)
			}
			clients, targets = append(clients, client), append(targets, target)
		}
		for role, p := range roles {
			p.has(carried(role, n, n, n*up, n*down))
		}
		for i := range clients {
			halfClose(t, clients[i])
			halfClose(t, targets[i])
			_, _ = io.Copy(io.Discard, clients[i])
		}
		for role, p := range roles {
			p.has(carried(role, 0, n, n*up, n*down))
			if code, text := p.asks("/readyz"); code != http.StatusOK {
				t.Errorf("%s: %d %s", role, code, text)
			}
		}
		if !through {
			return
		}
		w.relay.has(map[string]float64{
			"sp_relay_leases": 1, `sp_portal_ready{kind="relay",name="127.0.0.1:0"}`: 1,
		})
		passed := w.relay.metrics()[`sp_bytes_total{role="forwarder",direction="to_service"}`]
		if passed < n*up || passed > n*up*1.2 {
			t.Errorf("the relay has passed on %v bytes, and there were %d", passed, n*up)
		}
		w.outlet.has(map[string]float64{"sp_registrations": 1})
		w.relay.kill()
		testkit.Eventually(t, "the outlet's name is lost", func() bool {
			code, _ := w.outlet.asks("/readyz")
			return code == http.StatusServiceUnavailable
		})
		if code, _ := w.outlet.asks("/healthz"); code != http.StatusOK {
			t.Errorf("without a relay, alive: %d", code)
		}
	})
}

// TestMetricsToken has a token be needed where others can ask, and be read again.
func TestMetricsToken(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	role := []string{"relay", "--listen", anywhere}
	everywhere := append(role, "--metrics", "0.0.0.0:0")
	u.fails(2, "--metrics-token-file", everywhere...)
	u.fails(2, "--metrics", append(role, "--metrics-pprof")...)
	token := u.file("token", "short\n")
	u.fails(1, "token", append(everywhere, "--metrics-token-file", token)...)
	u.file("token", "0123456789abcdef\n")
	p := u.start(append(append(everywhere, "--metrics-token-file", token, "--metrics-pprof"),
		confined...)...)
	p.ready()
	url := strings.Replace(p.metricsAt(), "0.0.0.0", "127.0.0.1", 1)
	answers := func(page, token string, want int) {
		t.Helper()
		authorization := ""
		if token != "" {
			authorization = "Bearer " + token
		}
		code, body := webtest.Ask(t, http.MethodGet, url+page, authorization)
		if code != want {
			t.Errorf("%s with %q: %d %.100s, want %d", page, token, code, body, want)
		}
	}
	answers("/metrics", "", http.StatusUnauthorized)
	answers("/metrics", "0123456789abcdef", http.StatusOK)
	answers("/debug/pprof/heap?debug=1", "", http.StatusUnauthorized)
	answers("/debug/pprof/heap?debug=1", "0123456789abcdef", http.StatusOK)
	answers("/readyz", "", http.StatusOK)
	u.file("token", "fedcba9876543210\n")
	answers("/metrics", "0123456789abcdef", http.StatusUnauthorized)
	answers("/metrics", "fedcba9876543210", http.StatusOK)
	p.stop()
}
