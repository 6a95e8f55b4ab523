package telemetry

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/internal/webtest"
)

// note is a page that says what it was asked for.
type note struct{ looks, waits atomic.Int32 }

func (n *note) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("page " + r.URL.Path))
}

func (n *note) Look() { n.looks.Add(1) }

// Wait waits for as long as the one who asks does, where he has seen "same".
func (n *note) Wait(ctx context.Context, seen string) {
	if seen == "same" {
		n.waits.Add(1)
		<-ctx.Done()
	}
}

// ask asks a server for a URL with more headers, on a connection of its own.
func ask(t *testing.T, method, url string, headers map[string]string) *http.Response {
	t.Helper()
	q, err := http.NewRequestWithContext(testkit.Context(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		q.Header.Set(name, value)
	}
	q.Host = headers["Host"]
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	return a
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// The page is at / and below /page/, changes nothing, and is told when others look.
func TestPage(t *testing.T) {
	page := new(note)
	url := serve(t, Config{Page: page})
	for path, want := range map[string]string{
		"/": "page /", "/page/page.css": "page /page/page.css", "/index.html": "", "/pages": "",
	} {
		code, body := get(t, url+path, "")
		if want == "" && code != 404 || want != "" && (code != 200 || body != want) {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		if code, _ := webtest.Ask(t, method, url+"/", ""); code != 405 {
			t.Errorf("%s: %d", method, code)
		}
	}
	get(t, url+"/metrics", "")
	if n := page.looks.Load(); n != 1 {
		t.Errorf("it was told of %d looks", n)
	}
	policy := ask(t, http.MethodGet, url+"/", nil).Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'",
		"form-action 'none'", "frame-ancestors 'none'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("the policy is %s", policy)
	}
}

// Whoever has a name of his own lead to this machine is told nothing, wherever he asks, and so is a
// page that refers to what is here.
func TestForeignPages(t *testing.T) {
	url := serve(t, Config{Page: new(note)})
	for host, want := range map[string]int{
		"evil.example:9464": 403, "evil.example": 403, "localhost.evil.example": 403,
		"127.0.0.1.evil.example": 403, "127.1": 403,
		"localhost": 200, "LOCALHOST:1": 200, "sp.localhost:1": 200, "127.0.0.1": 200,
		"[::1]:9464": 200, "[::1]": 200, "192.0.2.1:1": 200,
	} {
		for _, path := range []string{"/", "/page/page.js", "/metrics", "/readyz"} {
			a := ask(t, http.MethodGet, url+path, map[string]string{"Host": host})
			if a.StatusCode != want {
				t.Errorf("%s as %s: %d, want %d", path, host, a.StatusCode, want)
			}
		}
	}
	for site, want := range map[string]int{
		"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200,
	} {
		as := map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "image"}
		if a := ask(t, http.MethodGet, url+"/", as); a.StatusCode != want {
			t.Errorf("from %s: %d, want %d", site, a.StatusCode, want)
		}
	}
	link := map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
	if a := ask(t, http.MethodGet, url+"/", link); a.StatusCode != 200 {
		t.Errorf("a link that is followed: %d", a.StatusCode)
	}
}

// A browser shows the token as a password. Who has shown it may ask by any name.
func TestBrowserToken(t *testing.T) {
	const token = "0123456789abcdef"
	url := serve(t, Config{
		Page: new(note), Token: func() (string, error) { return token, nil },
	})
	for authorization, want := range map[string]int{
		"": 401, basic("me", token): 200, basic("", token): 200, basic(token, ""): 401,
		basic("me", token+"x"): 401, basic("me", ""): 401, "Basic !": 401, "Bearer " + token: 200,
		"Bearer " + basic("me", token): 401,
	} {
		as := map[string]string{"Authorization": authorization, "Host": "metrics.example"}
		a := ask(t, http.MethodGet, url+"/", as)
		if a.StatusCode != want {
			t.Errorf("%q: %d, want %d", authorization, a.StatusCode, want)
		}
		asked := strings.Join(a.Header.Values("WWW-Authenticate"), " ")
		if want == 401 && !strings.Contains(asked, "Basic realm") {
			t.Errorf("a browser is asked for %q", asked)
		}
	}
	if a := ask(t, http.MethodGet, url+"/", map[string]string{"X-Requested-With": "x"}); strings.
		Contains(strings.Join(a.Header.Values("WWW-Authenticate"), " "), "Basic") {
		t.Error("a script has the browser ask for a password")
	}
	for _, path := range []string{"/?token=" + token, "/page/page.js", "/?password=" + token} {
		if a := ask(t, http.MethodGet, url+path, nil); a.StatusCode != 401 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// Nobody gets to a Unix socket by a name.
func TestUnixSocketHasNoName(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip("no Unix sockets here:", err)
	}
	at := serveOn(t, l, Config{Page: new(note)})
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", at.String())
		},
	}}
	a, err := client.Get("http://whatever/")
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("%d", a.StatusCode)
	}
}

// TestWaiting has many wait for a page to be another, and nobody who asks for something else, or
// for the page, be kept from it.
func TestWaiting(t *testing.T) {
	page := new(note)
	url := serve(t, Config{Page: page})
	ctx, leave := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range maxWaiting {
		waiting.Go(func() {
			q, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
			q.Header.Set("If-None-Match", "same")
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			if a, err := client.Do(q); err == nil {
				_ = a.Body.Close()
				t.Error("it did not wait")
			}
		})
	}
	testkit.Eventually(t, "all wait", func() bool { return page.waits.Load() == maxWaiting })
	for seen, path := range map[string]string{"same": "/", "other": "/", "": "/metrics"} {
		headers := map[string]string{"If-None-Match": seen}
		if a := ask(t, http.MethodGet, url+path, headers); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	leave()
	waiting.Wait()
}
