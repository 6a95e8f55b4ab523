package page

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/internal/metrics"
)

var happened = metrics.NewCounter("page_test_total", "what happens in tests of the page")

// inBubble has what is waited for belong to the bubble: a change begins it, and ends it, once
// nobody waits any more who could begin anew.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		happened.Inc()
		t.Cleanup(func() {
			synctest.Wait()
			happened.Inc()
		})
		f(t)
	})
}

// look is what the script does: it returns how long the page's answer waited for something to
// happen, and the tag that came with it.
func look(t *testing.T, p *Page, seen string) (waited time.Duration, tag string) {
	t.Helper()
	began := time.Now()
	if seen != "" {
		p.Wait(t.Context(), seen)
	}
	waited = time.Since(began)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if tag = w.Header().Get("ETag"); tag == "" {
		t.Fatal("it has no tag")
	}
	return waited, tag
}

// TestWait has who looks wait while nothing happens, and be answered soon when something does.
// Where something is wrong it goes on being looked at, for how long it has been is shown.
func TestWait(t *testing.T) {
	calm := daemon.Report{Portals: []daemon.PortalReport{{Name: "relay :1", Ready: true}}}
	inBubble(t, func(t *testing.T) {
		of := &told{report: calm}
		p := newPage(of)
		defer p.rest()
		_, tag := look(t, p, "")
		var waited time.Duration
		for range 2 { // two looks, to know that nothing has happened in between
			time.Sleep(time.Second)
			waited, tag = look(t, p, tag)
			if waited != 0 {
				t.Errorf("it waits %v, and does not know yet whether something happens", waited)
			}
			time.Sleep(time.Second)
			if waited, tag = look(t, p, tag); waited != hold {
				t.Errorf("it waits %v where nothing happens, want %v", waited, hold)
			}
			time.Sleep(time.Second)
			happened.Inc() // while nobody waits
			if waited, tag = look(t, p, tag); waited != settle {
				t.Errorf("what has happened is told after %v, want %v", waited, settle)
			}
		}
		time.Sleep(time.Second)
		_, tag = look(t, p, tag)
		time.AfterFunc(3*time.Second, happened.Inc)
		if waited, tag = look(t, p, tag); waited != 3*time.Second+settle {
			t.Errorf("what happens after 3 s is told after %v", waited)
		}
		of.report.Portals = []daemon.PortalReport{{Name: "relay :1", Error: "it is gone"}}
		for range 3 {
			time.Sleep(time.Second)
			if waited, tag = look(t, p, tag); waited > settle {
				t.Errorf("it waits %v where something is wrong", waited)
			}
		}
	})
}

// TestWaitEnds has nobody wait who has seen another page, and everybody who goes away end.
func TestWaitEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newPage(&told{})
		defer p.rest()
		for range 3 {
			look(t, p, "")
			time.Sleep(time.Second)
		}
		if waited, _ := look(t, p, `"other"`); waited != 0 {
			t.Errorf("who has seen another page waits %v", waited)
		}
		_, tag := look(t, p, "")
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		began := time.Now()
		p.Wait(ctx, tag)
		if took := time.Since(began); took != time.Second {
			t.Errorf("who goes away after 1 s waits %v", took)
		}
	})
}
