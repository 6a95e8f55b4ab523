package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/textfile"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// proxies are those by which a node's connections go out, with the password that its file last had.
// It is safe for concurrent use, but for refresh, which is for one at a time.
type proxies struct {
	logger *slog.Logger // set once
	named  transport.Proxies
	file   *watchedFile // nil if there is none

	unusable []string // variables of the environment
	said     atomic.Bool

	now atomic.Pointer[transport.Proxies]
}

// newProxies reads the password file that n names.
func newProxies(n config.Node, logger *slog.Logger) (*proxies, error) {
	named, err := n.ParseProxies()
	if err != nil {
		return nil, err
	}
	p := &proxies{logger: logger, named: named}
	if n.Proxy == "" {
		p.unusable = n.Proxies.Unusable()
	}
	p.now.Store(&named)
	if n.Proxy != "" && n.Proxy != config.NoProxy && named.All.HasPassword() {
		logger.Warn("the proxy's password is where others can see it (ps, /proc): put it in a file of " +
			"yours, and name that with --proxy-password-file")
	}
	named.Each(func(one *transport.Proxy) {
		logger.Debug("connections go out by a proxy", "proxy", one.String())
	})
	if n.ProxyPasswordFile == "" {
		return p, nil
	}
	p.file = &watchedFile{path: n.ProxyPasswordFile}
	p.file.stamp()
	_, err = p.read()
	return p, err
}

func (p *proxies) paths() []string {
	if p.file == nil {
		return nil
	}
	return []string{p.file.path}
}

// leadTo returns the proxy that leads to a, or nil.
func (p *proxies) leadTo(a route.Address) *transport.Proxy {
	by := p.now.Load().For(a)
	if by == nil {
		p.sayUnusable(a)
	}
	return by
}

// sayUnusable warns, once, where a variable names a proxy for a that cannot be one.
func (p *proxies) sayUnusable(a route.Address) {
	for _, name := range p.unusable {
		var all transport.Proxies
		switch any := new(transport.Proxy); name {
		case "HTTPS_PROXY":
			all.HTTPS = any
		case "HTTP_PROXY":
			all.HTTP = any
		default:
			all.All = any
		}
		if all.Except = p.named.Except; all.For(a) != nil && !p.said.Swap(true) {
			p.logger.Warn("connections go out without a proxy: what the variable names is neither "+
				"http://HOST:PORT nor socks5://HOST:PORT", "variable", name, "first", transport.Format(a))
		}
	}
}

func (p *proxies) each(f func(*transport.Proxy)) { p.now.Load().Each(f) }

// refresh reads the password again if its file has changed, or must be.
func (p *proxies) refresh(all bool) {
	if p.file != nil && p.file.take(all, p.logger, p.read) {
		p.logger.Info("new password for the proxy", "file", p.file.path)
	}
}

func (p *proxies) read() (changed bool, err error) {
	text, err := textfile.Read(p.file.path)
	password, _, _ := strings.Cut(text, "\n")
	password = strings.TrimSuffix(password, "\r")
	if err == nil && password == "" {
		err = errors.New("there is no password in its first line")
	}
	if err != nil {
		return false, fmt.Errorf("proxy password file %s: %w", p.file.path, err)
	}
	fresh := p.named
	fresh.All = p.named.All.WithPassword(password)
	before := p.now.Swap(&fresh)
	return before.All == p.named.All || *before.All != *fresh.All, nil
}
