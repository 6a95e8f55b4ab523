package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/route/transport"
)

// An authority counts what fails: Let's Encrypt takes five times an hour for a host.
const (
	acmeFirstRetry   = 2 * time.Minute
	acmeLongestRetry = time.Hour
	acmeLook         = time.Hour // between looks at what expires
	acmeAnswerTime   = time.Minute
)

// acmeLate is the share of its time that a certificate has left when it should have been renewed
// long ago: that is begun with a third of it.
const acmeLate = 10

var errNotYet = errors.New("there is no certificate yet")

// acmeCertificates are those that an authority gives a node for its hosts. Only the node asks for
// them: what strangers say in TLS never has it ask. They are renewed in good time, for as long as
// the process lives. It is safe for concurrent use.
type acmeCertificates struct {
	logger  *slog.Logger
	hosts   []string
	manager *autocert.Manager

	mu  sync.Mutex // guards what follows
	got map[string]bool
}

// newACME returns what the node asks for, or nil if it asks for nothing. An authority shows a
// certificate of those whom far ends' must be from. The folder is made and tried.
func (s *site) newACME() (*acmeCertificates, error) {
	c := s.config.ACME
	if len(c.Hosts) == 0 {
		return nil, nil
	}
	folder, err := c.ServerFolder()
	if err == nil {
		err = tryFolder(folder)
	}
	if err != nil {
		return nil, fmt.Errorf("folder of TLS certificates: %w", err)
	}
	a := &acmeCertificates{logger: s.logger, got: make(map[string]bool)}
	for _, host := range c.Hosts {
		a.hosts = append(a.hosts, strings.ToLower(host))
	}
	out, err := s.waysOut()
	a.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: c.Email,
		Cache: autocert.DirCache(folder), HostPolicy: autocert.HostWhitelist(a.hosts...),
		Client: &acme.Client{
			DirectoryURL: c.ServerURL(), UserAgent: "sp",
			HTTPClient: &http.Client{Timeout: acmeAnswerTime, Transport: &http.Transport{
				DialContext: dialBy(out), TLSClientConfig: &tls.Config{RootCAs: s.tls.roots},
				TLSHandshakeTimeout: acmeAnswerTime, DisableKeepAlives: true,
			}},
		},
	}
	return a, err
}

// waysOut are the ways on which those who are no far ends are reached over TLS.
func (s *site) waysOut() (*transport.Set, error) {
	from, err := s.config.ParseBind()
	return transport.NewSet(transport.Config{
		ConnectTimeout: s.config.ConnectTimeout, From: from,
		Proxy: func(a transport.Address) *transport.Proxy {
			secured, err := transport.Parse("tls://" + transport.Format(a))
			if err != nil {
				return nil
			}
			return s.proxies.leadTo(secured)
		},
	}), err
}

// tryFolder makes a folder for keys, and tells why it is none.
func tryFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := atomicfile.CheckDeciding(folder); err != nil {
		return err
	}
	return atomicfile.Try(filepath.Join(folder, "acme_account+key")) // the name that autocert has
}

// dialBy has net/http connect by out.
func dialBy(out *transport.Set) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		at, err := transport.Parse(address)
		if err != nil {
			return nil, err
		}
		return out.Dial(ctx, at)
	}
}

// show adds the certificates to what a node shows. A nil a adds none.
func (a *acmeCertificates) show(c transport.TLSConfig) transport.TLSConfig {
	if a != nil {
		c.Certificate, c.Challenges = a.certificate, []string{acme.ALPNProto}
	}
	return c
}

// certificate returns what to show to somebody: the proof that an authority looks for (RFC 8737
// §3), or a certificate that is there.
func (a *acmeCertificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return a.manager.GetCertificate(hello)
	}
	host := strings.ToLower(hello.ServerName)
	if !slices.Contains(a.hosts, host) {
		host = a.hosts[0]
	}
	a.mu.Lock()
	got := a.got[host]
	a.mu.Unlock()
	if !got {
		return nil, errNotYet
	}
	return a.manager.GetCertificate(helloFor(host))
}

// helloFor asks the manager for the certificate of a host, always of the same kind.
func helloFor(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:       host,
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}
}

// run asks for what is not there, again and again, and looks after what is, until ctx ends.
func (a *acmeCertificates) run(ctx context.Context) {
	pause := acmeFirstRetry
	for {
		next := acmeLook
		for _, host := range a.hosts {
			if err := a.look(host); err != nil && ctx.Err() == nil {
				next = pause
				a.logger.Error("no TLS certificate", "host", host, "authority", a.manager.Client.DirectoryURL,
					"error", err, "again", next)
			}
		}
		if next != acmeLook {
			pause = min(2*pause, acmeLongestRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// look has the certificate of a host be there, and says what there is to say of it.
func (a *acmeCertificates) look(host string) error {
	c, err := a.manager.GetCertificate(helloFor(host))
	if err != nil {
		return err
	}
	a.mu.Lock()
	first := !a.got[host]
	a.got[host] = true
	a.mu.Unlock()
	leaf := c.Leaf
	if first {
		a.logger.Info("TLS certificate", "host", host, "issuer", leaf.Issuer.String(),
			"expires", leaf.NotAfter)
	}
	if left := time.Until(leaf.NotAfter); left < leaf.NotAfter.Sub(leaf.NotBefore)/acmeLate {
		a.logger.Warn("the TLS certificate could not be renewed", "host", host, "expires", leaf.NotAfter)
	}
	return nil
}

// acmePart is what asks for the certificates of a node that listens over TLS.
type acmePart struct {
	of      *acmeCertificates
	stop    context.CancelFunc
	running sync.WaitGroup
}

func (s *site) planACME() planned {
	return planned{key: keyOf("acme", 0), make: func() part { return &acmePart{of: s.acme} }}
}

func (p *acmePart) start(context.Context) error {
	running, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.running.Go(func() { p.of.run(running) })
	return nil
}

func (p *acmePart) stopListening() { p.stop() }
func (p *acmePart) withdraw()      { p.stop() }

// end does not wait for an authority's answer any longer than ctx.
func (p *acmePart) end(ctx context.Context) {
	p.stop()
	await(ctx, &p.running)
}

// state is not that of an entrance: links come in over TLS, if it is there, or by other ways.
func (p *acmePart) state() partState { return partState{up: true} }
