package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/secureportal/sp/cli/telemetry"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/route/transport"
)

// A token is one line of so many bytes.
const (
	minToken = 16
	maxToken = 4096
)

// watchers are those who are told over HTTP how the process does.
type watchers struct {
	stop    context.CancelFunc // nil: nobody is told
	serving sync.WaitGroup
}

// tellMetrics has metrics be told, if they are to be, until watchers.end. ctx bounds the beginning.
func (d *Daemon) tellMetrics(ctx context.Context) error {
	c := d.options.Metrics
	if err := c.Validate(); err != nil || c.Listen == "" {
		return err
	}
	where, err := c.Address()
	if err != nil {
		return err
	}
	o := telemetry.Config{
		Version: d.options.Version, Ready: d.isReady, More: d.moreMetrics, Pprof: c.Pprof,
		Logger: d.options.Logger,
	}
	if d.options.Page != nil {
		o.Page = d.options.Page(d)
	}
	if c.TokenFile != "" {
		o.Token = func() (string, error) { return readToken(c.TokenFile) }
		if _, err := o.Token(); err != nil {
			return err
		}
	}
	l, err := transport.ListenPlain(ctx, where, transport.Config{})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.Background())
	d.watchers.stop = stop
	d.watchers.serving.Go(func() { telemetry.Serve(serving, l, o) })
	d.options.Logger.Info("metrics are told", "address", describe(l))
	return nil
}

// end returns when nobody is told anything any more.
func (w *watchers) end() {
	if w.stop != nil {
		w.stop()
		w.serving.Wait()
	}
}

// readToken returns what a token file says.
func readToken(path string) (string, error) {
	b, _, err := atomicfile.ReadDeciding(path, maxToken)
	if err != nil {
		return "", fmt.Errorf("token file %s: %w", path, err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("token file %s: it is not one word of %d or more letters and digits",
			path, minToken)
	}
	return token, nil
}

var (
	errStarting = errors.New("it is starting")
	errNotUp    = errors.New("it cannot be used now")
)

// isReady returns nil if all portals can be used now, or why the first one cannot.
func (d *Daemon) isReady() error {
	d.mu.Lock()
	started := d.started
	d.mu.Unlock()
	if !started {
		return errStarting
	}
	if d.busy.Err() != nil {
		return ErrClosed
	}
	for _, p := range d.Status().Portals {
		if !p.Ready {
			err := p.Err
			if err == nil {
				err = errNotUp
			}
			return fmt.Errorf("%s %s: %w", p.Kind, p.Name, err)
		}
	}
	return nil
}

// moreMetrics are those of the portals.
func (d *Daemon) moreMetrics(put func(metrics.Sample)) {
	for _, p := range d.Status().Portals {
		s := metrics.Sample{
			Name: "portal_ready", Help: "whether the portal can be used now: 1, or 0",
			Kind: metrics.KindGauge, Labels: []metrics.Label{
				{Name: "kind", Value: string(p.Kind)}, {Name: "name", Value: p.Name},
			},
		}
		if p.Ready {
			s.Value = 1
		}
		put(s)
	}
}
