package telemetry

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// What a browser is asked for in place of a bearer's token: any name, and the token as the
// password. It sends that again by itself, and never in a URL.
const basicRealm = `Basic realm="sp: any name, and the token as the password", charset="UTF-8"`

// byScript is a header of a page's script that asks again and again: nobody is asked for a password
// because of it, for he would be each time.
const byScript = "X-Requested-With"

// policy is what a browser may do with an answer: show it, with what comes from here besides, and
// nothing else. Nobody may show it within another page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// restrict says to browsers what they are not to do with an answer.
func restrict(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

var (
	errByName = errors.New("without a token this process answers to localhost or an address, and " +
		"not to another name: any web page could ask by one (see --metrics-token-file)")
	errForeign = errors.New("another web page has asked for this, and not you")
)

// mayAsk returns nil if a request is of somebody who may see what he asks for, as far as that does
// not take a token, or why not. A browser asks for whatever page it shows: one may have a name of
// its own lead to this machine (DNS rebinding), or refer to what is here.
func (c Config) mayAsk(r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site": // a link that is followed is not the page's doing
		if r.Header.Get("Sec-Fetch-Dest") != "document" {
			return errForeign
		}
	}
	if c.Token == nil && !isOwnName(r) {
		return errByName
	}
	return nil
}

// isOwnName tells whether a request is for this machine by a name that nobody else can have: an
// address, or localhost. A Unix socket has no name, and a browser does not get there.
func isOwnName(r *http.Request) bool {
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if r.Host == "" || at != nil && at.Network() == "unix" {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// guarded answers with h those only who show the token.
func (c Config) guarded(h http.HandlerFunc) http.HandlerFunc {
	if c.Token == nil {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) {
		want, err := c.Token()
		if err != nil {
			c.Logger.Error("metrics are told to nobody", "error", err)
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		if !isSame(shown(r), want) {
			w.Header().Add("WWW-Authenticate", "Bearer")
			if r.Header.Get(byScript) == "" {
				w.Header().Add("WWW-Authenticate", basicRealm)
			}
			http.Error(w, "a token is needed", http.StatusUnauthorized)
			return
		}
		h(w, r)
	}
}

// shown is the token that a request shows, or "".
func shown(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	_, password, _ := r.BasicAuth()
	return password
}

// isSame compares in a time that does not tell how much of it is the same.
func isSame(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return b != "" && subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
