package testkit

import (
	"io"
	"net/http"
	"testing"
)

// Ask asks an HTTP server for a URL, on a connection of its own, and returns the answer. The
// authorization is that header, unless it is empty.
func Ask(t testing.TB, method, url, authorization string) (code int, body string) {
	t.Helper()
	q, err := http.NewRequestWithContext(Context(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		q.Header.Set("Authorization", authorization)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(b)
}
