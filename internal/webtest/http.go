// Package webtest holds what tests need of HTTP and of certificates. It is apart from testkit, so
// that not every test of all is linked with them.
package webtest

import (
	"io"
	"net/http"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// Ask asks an HTTP server for a URL, on a connection of its own, and returns the answer. The
// authorization is that header, unless it is empty.
func Ask(t testing.TB, method, url, authorization string) (code int, body string) {
	t.Helper()
	q, err := http.NewRequestWithContext(testkit.Context(t), method, url, nil)
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
