package test

import (
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// TestPageOfRelayInBrowser has somebody come with a browser to where a relay listens for
// WebSockets: he reads what is here, and a page of somebody else's cannot make a WebSocket of his.
// With SP_FULL=1.
func TestPageOfRelayInBrowser(t *testing.T) {
	if !testenv.Full() {
		t.Skip("a browser takes some seconds: it is opened with SP_FULL=1")
	}
	b := newBrowser(t)
	b.call("Security.setIgnoreCertificateErrors", map[string]any{"ignore": true}, nil)
	u := newPerson(t)
	show, _ := u.certified()
	at := strings.Fields(u.start(append([]string{
		"relay", "--listen", "ws://127.0.0.1:0/sp", "--listen", "wss://127.0.0.1:0/sp",
	}, show...)...).ready())
	for _, listens := range at {
		web := strings.Replace(listens, "ws", "http", 1)
		for _, url := range []string{strings.TrimSuffix(web, "sp"), web} {
			b.open(url)
			b.is(`document.title === "sp"`)
			b.is(`document.querySelector("h1").textContent === "A node of sp is here"`)
			where := strings.SplitN(listens, "://", 2)[1]
			if text := b.text(`document.body.textContent`); !strings.Contains(text, where) {
				t.Errorf("%s says: %s", url, text)
			}
		}
		b.quiet()
	}
	b.open(u.start("relay", "--listen", anywhere, "--metrics", anywhere).metricsAt() + "/")
	for _, listens := range at[:1] { // of the other one the certificate is none
		b.is(`new Promise(done => {
			const s = new WebSocket("` + listens + `", "sp.1")
			s.onopen = () => done(false)
			s.onerror = () => done(true)
		})`)
	}
}
