// Package page shows people, in a browser, what a process does and what is wrong with it: the same
// that sp status is told (daemon.Report), drawn, and how metrics have changed in the last minutes.
//
// It is made as a whole whenever somebody asks, tables and drawings, and can be read as it is. A
// script asks again a second later and puts what is different in its place; it knows nothing of
// what that means. Where nothing happens and nothing is wrong it is answered when something does,
// or after hold. So there is nothing to do while nobody looks, and no goroutine, and next to
// nothing while somebody does.
//
// Names, routes, Identifiers and errors come from others: they get into the page as text only, by
// writer.add, no longer than maxText, and there are no more of a kind than maxRows.
package page

import (
	"context"
	_ "embed" // the page's files
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/telemetry"
	"github.com/secureportal/sp/internal/metrics"
)

const (
	maxRows = 20  // of a table, as sp status shows them
	maxText = 300 // letters of a cell
	maxMade = 16  // boxes of a kind in the drawing

	// fresh is for how long what has been made is shown to others as well: many who look cost no
	// more than two or three.
	fresh = 400 * time.Millisecond

	// askAgain is how often far ends are asked how far away they are, while somebody looks.
	askAgain = 10 * time.Second

	// hold is how long an answer waits for something to happen. It is no longer than for how long
	// what has been counted tells how it is now: see nearly, and speedsLast.
	hold = 12 * time.Second

	// settle is for what has been counted to have its consequences, before they are shown.
	settle = 100 * time.Millisecond
)

// source is a process. Report may take half a second.
type source interface {
	Report(ctx context.Context) daemon.Report
	Glance() daemon.Report
}

// What belongs to the page.
var (
	//go:embed page.css
	styles string
	//go:embed page.js
	script string
	//go:embed icon.svg
	icon string
)

// assets are these, by their paths: what they are, and their text.
var assets = map[string][2]string{
	"/page/page.css": {"text/css; charset=utf-8", styles},
	"/page/page.js":  {"text/javascript; charset=utf-8", script},
	"/page/icon.svg": {"image/svg+xml", icon},
}

// Page is a page about one process. It is safe for concurrent use.
type Page struct {
	of   source
	host string
	now  func() time.Time

	mu      sync.Mutex // held while a page is made
	made    []byte
	at      time.Time           // when it was
	quiet   <-chan struct{}     // closed when something has happened since
	calm    bool                // nothing had happened since the one before, and nothing was wrong
	asked   time.Time           // when far ends were asked how far away they are
	carried [directions]float64 // bytes, by then
	history history
	speeds  speeds
	forget  *time.Timer // ends what is kept for the next who looks; nil before the first
}

// New returns the page about a process. Nobody has to end it.
func New(d *daemon.Daemon) telemetry.Page { return newPage(d) }

func newPage(of source) *Page {
	host, _ := os.Hostname()
	p := &Page{of: of, host: host, now: time.Now}
	p.Look()
	return p
}

// Look implements telemetry.Page.
func (p *Page) Look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history.add(takeSample(p.now()))
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asset, ok := assets[r.URL.Path]
	switch {
	case ok:
		w.Header().Set("Content-Type", asset[0])
		_, _ = io.WriteString(w, asset[1])
		return
	case r.URL.Path != "/":
		http.NotFound(w, r)
		return
	}
	text, at := p.make(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("ETag", tag(at))
	_, _ = w.Write(text)
}

// tag names the page of one moment.
func tag(at time.Time) string { return `"` + strconv.FormatInt(at.UnixNano(), 36) + `"` }

// Wait implements telemetry.Page.
func (p *Page) Wait(ctx context.Context, seen string) {
	p.mu.Lock()
	quiet, held := p.quiet, p.made != nil && p.calm && seen == tag(p.at)
	p.mu.Unlock()
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	select {
	case <-ctx.Done():
		return
	case <-quiet:
	}
	settled := time.NewTimer(settle)
	defer settled.Stop()
	select {
	case <-ctx.Done():
	case <-settled.C:
	}
}

// isClosed tells whether something has happened since a page was made.
func isClosed(quiet <-chan struct{}) bool {
	select {
	case <-quiet:
		return true
	default:
		return quiet == nil
	}
}

// make returns the page as it is now, or was a moment ago, and when that was.
func (p *Page) make(ctx context.Context) ([]byte, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now(); p.made != nil && now.Sub(p.at) < fresh {
		return p.made, p.at
	}
	calm, before := !isClosed(p.quiet), p.carried
	quiet := metrics.Watch()
	var r daemon.Report
	if now := p.now(); now.Sub(p.asked) >= askAgain {
		p.asked = now
		r = p.of.Report(ctx)
	} else {
		r = p.of.Glance()
	}
	sample := takeSample(p.now())
	p.history.add(sample)
	v := newView(r, p.host, &p.history, sample, p.speeds.since(r.Connections, sample.at))
	p.made, p.at, p.quiet, p.carried = layout(&v), sample.at, quiet, sample.carried
	p.calm = calm && len(v.Wrong) == 0 && sample.carried == before
	if p.forget == nil {
		p.forget = time.AfterFunc(speedsLast, p.rest)
	}
	p.forget.Reset(speedsLast)
	return p.made, p.at
}

// rest is called when nobody looks any more: what there may be much of is not kept.
func (p *Page) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made, p.speeds = nil, speeds{}
}
