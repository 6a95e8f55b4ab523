//go:build linux

package topology

import "fmt"

// The configuration of frp is its defaults, on loopback: TLS and multiplexing
// between frpc and frps, which reads everything.
const (
	frpsConfig = `bindAddr = "127.0.0.1"
bindPort = %s
proxyBindAddr = "127.0.0.1"
log.level = "error"
`
	frpcConfig = `serverAddr = "127.0.0.1"
serverPort = %s
log.level = "error"
[[proxies]]
name = "bench"
type = "tcp"
localIP = "127.0.0.1"
localPort = %s
remotePort = %s
`
)

// frp is a relay and a client of it beside the service.
func frp() Topology {
	return Topology{
		Name:    "frp",
		About:   "frp tcp (its relay reads everything)",
		Cipher:  goTLSCipher + ", on one of its two links",
		Relayed: true,
		Needs:   []string{"frps", "frpc"},
		start:   func(s *site, target string) (string, error) { return s.frp(target) },
	}
}

// frpGhostunnel is what it takes for frp's relay to read nothing.
func frpGhostunnel() Topology {
	return Topology{
		Name:    "frp+ghostunnel",
		About:   "frp + ghostunnel, end to end encrypted",
		Cipher:  goTLSCipher + ", twice",
		Relayed: true,
		Needs:   []string{"frps", "frpc", "ghostunnel"},
		start: func(s *site, target string) (string, error) {
			server, err := s.ghostunnelServer(target)
			if err != nil {
				return "", err
			}
			relay, err := s.frp(server)
			if err != nil {
				return "", err
			}
			return s.ghostunnelClient(relay)
		},
	}
}

// frp starts both and returns where the relay accepts connections for target.
func (s *site) frp(target string) (string, error) {
	a, err := addrs(2)
	if err != nil {
		return "", err
	}
	relay, entry := a[0], a[1]
	config, err := s.write("frps.toml", fmt.Sprintf(frpsConfig, port(relay)))
	if err != nil {
		return "", err
	}
	if err := s.runAt(relay, "frps", "-c", config); err != nil {
		return "", err
	}
	if relay, err = s.link(relay); err != nil {
		return "", err
	}
	config, err = s.write("frpc.toml",
		fmt.Sprintf(frpcConfig, port(relay), port(target), port(entry)))
	if err != nil {
		return "", err
	}
	return entry, s.runAt(entry, "frpc", "-c", config)
}
