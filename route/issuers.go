package route

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/route/transport"
)

// maxIssuers is how many issuers a node remembers to have told of.
const maxIssuers = 256

// transportConfig is what the node's transports are made of.
func (n *Node) transportConfig() transport.Config {
	c := transport.Config{
		ConnectTimeout: n.config.ConnectTimeout, Reach: n.config.Reach,
		SocketMode: n.config.SocketMode, TLS: n.config.TLS,
		Proxy: n.config.Proxy, From: n.config.From, AdmitTLS: n.admitTLS,
		Sockets: n.config.Sockets, Brokers: n.config.Brokers,
	}
	c.TLS.Seen = n.seenIssuer
	c.Unheard = func(a transport.Address, err error) {
		n.logger.Warn("nobody finds this machine by Bluetooth unless it advertises, and sp may not "+
			"have it do so: give sp CAP_NET_ADMIN, or run btmgmt add-adv -c 1 as root",
			"listen", transport.Format(a), "error", err)
	}
	if self := n.config.Channel.Identity; self != nil {
		c.Secret = self.Derive("quic stateless reset")
	}
	return c
}

// admitTLS counts the handshake of TLS that a peer asks for.
func (n *Node) admitTLS(peer net.Addr) error {
	now := time.Now()
	err := n.admission.TLS(n.source(peer), now)
	if err != nil && n.linkRefusals.Due(now) {
		n.logger.Warn("refusing links", "peer", peer, "error", err)
	}
	return err
}

// issuers are whose certificates have been told of. It has a lock of its own. The zero value is
// ready.
type issuers struct {
	mu   sync.Mutex
	told map[issued]struct{}
}

// issued is a certificate as far as the log tells certificates apart.
type issued struct {
	host, issuer string
	believed     bool
}

// isNew tells whether one has not been told of yet, and takes note that it is now.
func (i *issuers) isNew(one issued) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.told[one]; ok {
		return false
	}
	if i.told == nil || len(i.told) >= maxIssuers {
		i.told = make(map[issued]struct{})
	}
	i.told[one] = struct{}{}
	return true
}

// seenIssuer names who has issued a certificate, once for each host: whoever opens TLS on the way,
// to look into it, shows one of his own. He finds secure channels there.
func (n *Node) seenIssuer(host, issuer string, err error) {
	if !n.issuers.isNew(issued{host, issuer, err == nil}) {
		return
	}
	switch {
	case err == nil && n.config.TLS.Roots != nil: // who that may be has been said
		return
	case err == nil:
		n.logger.Info("TLS, with a certificate from", "host", host, "issuer", issuer)
		return
	}
	level := slog.LevelWarn
	text := "TLS goes on with a certificate that is not believed: it may be opened on the way, " +
		"where it can be seen who connects to whom, and nothing else"
	if n.config.TLS.Roots != nil {
		level, text = slog.LevelError, "TLS is refused for its certificate"
	}
	n.logger.Log(n.life.ctx, level, text, "host", host, "issuer", issuer, "error", err)
}
