package telemetry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/internal/webtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends, and returns where it is.
func serve(t *testing.T, c Config) string {
	t.Helper()
	return "http://" + serveOn(t, testkit.Listen(t), c).String()
}

// serveOn is serve on a listener.
func serveOn(t *testing.T, l net.Listener, c Config) net.Addr {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		Serve(ctx, l, c)
	}()
	t.Cleanup(func() {
		stop()
		testkit.Within(t, served, "the end of the server")
	})
	return l.Addr()
}

// get asks once, with a token if there is one.
func get(t *testing.T, url, token string) (code int, body string) {
	t.Helper()
	return webtest.Ask(t, http.MethodGet, url, token)
}

func TestPages(t *testing.T) {
	var trouble atomic.Pointer[error]
	url := serve(t, Config{Version: `1"2`, Ready: func() error {
		if err := trouble.Load(); err != nil {
			return *err
		}
		return nil
	}})
	for path, want := range map[string]int{
		"/metrics": 200, "/healthz": 200, "/readyz": 200, "/": 404, "/debug/pprof/": 404,
		"/metrics/x": 404, "/page/page.css": 404,
	} {
		if code, _ := get(t, url+path, ""); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	_, text := get(t, url+"/metrics", "")
	if !strings.Contains(text, `sp_build_info{version="1\"2",`) {
		t.Errorf("it does not say which build it is:\n%s", text)
	}
	err := errors.New("the far end is away")
	trouble.Store(&err)
	code, text := get(t, url+"/readyz", "")
	if code != 503 || text != "the far end is away\n" {
		t.Errorf("not ready: %d, %q", code, text)
	}
	if code, _ := get(t, url+"/healthz", ""); code != 200 {
		t.Errorf("it lives, and says %d", code)
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodConnect} {
		if code, _ := webtest.Ask(t, method, url+"/metrics", ""); code != 405 {
			t.Errorf("%s: %d", method, code)
		}
	}
}

// A token is needed for everything but whether the process lives and works, and those say no more.
func TestToken(t *testing.T) {
	fails := errors.New("no file")
	var broken atomic.Bool
	url := serve(t, Config{
		Pprof: true, Ready: func() error { return errors.New("secret is away") },
		Token: func() (string, error) {
			if broken.Load() {
				return "", fails
			}
			return "abcdefghijklmnop", nil
		},
	})
	for token, want := range map[string]int{
		"": 401, "Bearer abcdefghijklmnop": 200, "Bearer abcdefghijklmno": 401, "Bearer ": 401,
		"abcdefghijklmnop": 401, "Basic abcdefghijklmnop": 401,
	} {
		for _, path := range []string{"/metrics", "/debug/pprof/"} {
			if code, _ := get(t, url+path, token); code != want {
				t.Errorf("%s with %q: %d, want %d", path, token, code, want)
			}
		}
	}
	if code, text := get(t, url+"/readyz", ""); code != 503 || strings.Contains(text, "secret") {
		t.Errorf("not ready: %d, %q", code, text)
	}
	broken.Store(true)
	if code, _ := get(t, url+"/metrics", "Bearer abcdefghijklmnop"); code != 503 {
		t.Errorf("without a file: %d", code)
	}
}

// Whoever asks for much is told to wait, and has nobody wait who asks whether the process is well.
func TestBusy(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	at := serve(t, Config{Pprof: true, More: func(func(metrics.Sample)) {
		asked <- struct{}{}
		<-answer
	}})
	codes := make(chan int, maxAtOnce)
	for range maxAtOnce {
		go func() {
			code, _ := get(t, at+"/metrics", "")
			codes <- code
		}()
		testkit.Within(t, asked, "the request")
	}
	for page, want := range map[string]int{
		"/metrics": http.StatusServiceUnavailable, "/healthz": http.StatusOK, "/readyz": http.StatusOK,
		"/debug/pprof/cmdline": http.StatusNotFound, "/debug/pprof/": http.StatusOK,
	} {
		if code, body := get(t, at+page, ""); code != want {
			t.Errorf("%s: %d %s, want %d", page, code, body, want)
		}
	}
	close(answer)
	for range maxAtOnce {
		if code := testkit.Within(t, codes, "the answer"); code != http.StatusOK {
			t.Errorf("who has waited gets %d", code)
		}
	}
}

// Who holds all the connections that there may be, or says half a request on each, keeps nobody
// out.
func TestManyConnections(t *testing.T) {
	url := serve(t, Config{})
	for i := range 3 * maxLinks {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		}
	}
	if code, _ := get(t, url+"/metrics", ""); code != 200 {
		t.Errorf("somebody else gets %d", code)
	}
}

// What is no request, or too much of one, ends with the connection and costs little.
func TestHostile(t *testing.T) {
	url := serve(t, Config{})
	for _, says := range []string{
		"\x00\x01\x02\x03\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n",
		"GET /../metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, says)
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && a.StatusCode < 400 {
			t.Errorf("%.30q is answered %d", says, a.StatusCode)
		}
		_ = c.Close()
	}
}

var testWait = metrics.NewHistogram("test_wait_seconds", "waiting \\ of\nthe test",
	metrics.Label{Name: "who", Value: "a \"b\"\n\\"})

// The metrics are what promtool takes them for.
func TestPromtool(t *testing.T) {
	promtool := testenv.NeedTool(t, "promtool")
	testWait.Observe(time.Second)
	var w writer
	w.all(func(put func(metrics.Sample)) { put(about("1.2")) })
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(w.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s\n%s", err, out, w.String())
	}
}

func TestText(t *testing.T) {
	var w writer
	w.sample(metrics.Sample{
		Name: "x_seconds", Help: "a \\ b\nc", Kind: metrics.KindHistogram, Value: 1.5,
		Labels: []metrics.Label{{Name: "l", Value: "a\"\\\n"}},
		Buckets: []metrics.Bucket{
			{Bound: 0.5, Count: 1}, {Bound: math.Inf(1), Count: 2},
		},
	})
	w.sample(metrics.Sample{Name: "go_x", Help: "h", Kind: metrics.KindGauge, Value: 1e18})
	w.sample(metrics.Sample{
		Name: "go_x", Help: "h", Kind: metrics.KindGauge, Value: -1,
		Labels: []metrics.Label{{Name: "a", Value: "b"}},
	})
	want := `# HELP sp_x_seconds a \\ b\nc
# TYPE sp_x_seconds histogram
sp_x_seconds_bucket{l="a\"\\\n",le="0.5"} 1
sp_x_seconds_bucket{l="a\"\\\n",le="+Inf"} 2
sp_x_seconds_sum{l="a\"\\\n"} 1.5
sp_x_seconds_count{l="a\"\\\n"} 2
# HELP go_x h
# TYPE go_x gauge
go_x 1e+18
go_x{a="b"} -1
`
	if got := w.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, fmt.Sprint(want))
	}
}
