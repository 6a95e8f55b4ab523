// Package telemetry answers those who watch over a process: over HTTP, with how much of everything
// there is (/metrics, in the text format of Prometheus), whether the process lives (/healthz) and
// whether it can do its work (/readyz).
//
// It decides nothing: what is counted is in package metrics, and who may be asked for the rest says
// Config. Whoever asks is hostile until he has shown the token, if there is one.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/metrics"
)

const (
	headerTimeout = 5 * time.Second  // for a request to come
	tellTimeout   = 30 * time.Second // to answer it
	idleTimeout   = 2 * time.Minute  // for the next one: scrapes come once a minute, or more often
	maxHeader     = 16 << 10         // bytes
	maxLinks      = 64               // connections at once: the one that came first makes room

	// Requests for metrics, and pages, that are answered at once, and for profiles; others are told
	// to wait. Whether the process is well is told to everybody at once.
	maxAtOnce   = 4
	maxProfiles = 1

	// maxWaiting is how many may wait for a page to be another: they do nothing. The next one is
	// answered at once.
	maxWaiting = 16

	// profileTimeout is tellTimeout where profiles may be asked for.
	profileTimeout = 5 * time.Minute
)

// Config says what a server tells. It is not changed.
type Config struct {
	Version string // of the program

	// Ready returns nil if the process can do its work, or why not.
	Ready func() error

	// More gives a function what is known besides the metrics of the process. Nil is nothing.
	More func(func(metrics.Sample))

	// Page is for people. Nil is that there is none.
	Page Page

	// Token returns what who asks has to show, whatever for but /healthz and /readyz. It is called
	// for each request; an error lets nobody in. Nil lets everybody in who asks by an address of
	// this machine's, and not by a name that anybody's may be.
	Token func() (string, error)

	// Pprof has profiles of the process told as well, which say what its memory looks like.
	Pprof bool

	// Logger gets what goes wrong. Nil means slog.Default.
	Logger *slog.Logger
}

// Page answers at / and below /page/. It is safe for concurrent use.
type Page interface {
	http.Handler

	// Wait is called before a page is asked for by who has seen one, with that one's ETag. It returns
	// when there may be something else to see, or nothing has happened for some seconds.
	Wait(ctx context.Context, seen string)

	// Look is called when somebody else is told metrics: a page may show how they change, and
	// nothing of its own wakes the process for that.
	Look()
}

// Serve answers on l until ctx ends. It closes l, and returns when nothing is being answered any
// more.
func Serve(ctx context.Context, l net.Listener, c Config) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	open := new(links)
	defer open.serving.Wait()
	s := &http.Server{
		Handler: c.handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout,
		WriteTimeout: tellTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog:  slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		ConnState: open.follow,
	}
	if c.Pprof {
		s.WriteTimeout = profileTimeout
	}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	var closing sync.WaitGroup
	closing.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer closing.Done()
		_ = s.Close()
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		c.Logger.Error("metrics are not told any more", "error", err)
	}
	if stop() {
		_ = s.Close()
		return
	}
	closing.Wait()
}

// errNotReady is what strangers are told.
var errNotReady = errors.New("not ready")

// handler answers all requests. There is no other page, and no other method: nothing is changed by
// who asks.
func (c Config) handler() http.Handler {
	all, told := http.NewServeMux(), http.NewServeMux()
	if c.Page != nil {
		told.Handle("GET /{$}", c.guarded(c.Page.ServeHTTP))
		told.Handle("GET /page/", c.guarded(c.Page.ServeHTTP))
	}
	all.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { tell(w, nil) })
	all.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := c.Ready()
		if err != nil && c.Token != nil {
			err = errNotReady
		}
		tell(w, err)
	})
	told.Handle("GET /metrics", c.guarded(c.metrics))
	few := atMost(maxAtOnce, told)
	all.Handle("/", few)
	if c.Page != nil {
		all.Handle("GET /{$}", c.guarded(c.whenOther(few)))
	}
	if c.Pprof {
		profiles := http.NewServeMux()
		profiles.Handle("GET /debug/pprof/", c.guarded(pprof.Index))
		profiles.Handle("GET /debug/pprof/profile", c.guarded(pprof.Profile))
		profiles.Handle("GET /debug/pprof/trace", c.guarded(pprof.Trace))
		all.Handle("/debug/pprof/", atMost(maxProfiles, profiles))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		restrict(w.Header())
		if err := c.mayAsk(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		all.ServeHTTP(w, r)
	})
}

// atMost answers so many requests at once.
func atMost(n int, h http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			h.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}
	})
}

// whenOther has who has seen a page wait until it may be another. Whether he may see that is asked
// again then.
func (c Config) whenOther(h http.Handler) http.HandlerFunc {
	places := make(chan struct{}, maxWaiting)
	return func(w http.ResponseWriter, r *http.Request) {
		if seen := r.Header.Get("If-None-Match"); seen != "" {
			select {
			case places <- struct{}{}:
				// What has come is all that comes; how long that took has ended the request otherwise.
				_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
				c.Page.Wait(r.Context(), seen)
				<-places
			default:
			}
		}
		h.ServeHTTP(w, r)
	}
}

// tell says that all is well, or why it is not.
func tell(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func (c Config) metrics(w http.ResponseWriter, _ *http.Request) {
	if c.Page != nil {
		c.Page.Look()
	}
	var text writer
	text.all(func(put func(metrics.Sample)) {
		put(about(c.Version))
		if c.More != nil {
			c.More(put)
		}
	})
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(text.Bytes())
}

// links are the connections that are open, the oldest first. There is a bound to them, and whoever
// comes gets in all the same: who holds many keeps nobody out for longer than a scrape takes.
type links struct {
	serving sync.WaitGroup // their goroutines

	mu  sync.Mutex
	all []net.Conn
}

// follow is told what becomes of a connection.
func (l *links) follow(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		l.serving.Add(1)
		if l.all = append(l.all, c); len(l.all) > maxLinks {
			_ = l.all[0].Close()
			l.all = l.all[1:]
		}
	case http.StateClosed, http.StateHijacked:
		l.serving.Done()
		for i, other := range l.all {
			if other == c {
				l.all = append(l.all[:i], l.all[i+1:]...)
				return
			}
		}
	}
}
