//go:build linux

package topology

import "fmt"

// stunnelConfig has TLS 1.3 with both ends verified, and TCP_NODELAY as the
// others have it.
const stunnelConfig = `foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
client = %s
accept = %s
connect = %s
cert = %s
key = %s
CAfile = %s
verifyChain = yes
sslVersionMin = TLSv1.3
`

func stunnel() Topology {
	return Topology{
		Name:   "stunnel",
		About:  "stunnel (mutual TLS 1.3, OpenSSL)",
		Cipher: opensslCipher,
		Needs:  []string{"stunnel"},
		start: func(s *site, target string) (string, error) {
			a, err := addrs(2)
			if err != nil {
				return "", err
			}
			if err := s.stunnelEnd("no", a[0], target, s.kit.certs.server); err != nil {
				return "", err
			}
			server, err := s.link(a[0])
			if err != nil {
				return "", err
			}
			return a[1], s.stunnelEnd("yes", a[1], server, s.kit.certs.client)
		},
	}
}

func (s *site) stunnelEnd(client, listen, target string, pair keyPair) error {
	config, err := s.write("stunnel-"+client+".conf", fmt.Sprintf(stunnelConfig,
		client, listen, target, pair.cert, pair.key, s.kit.certs.authority))
	if err != nil {
		return err
	}
	return s.runAt(listen, "stunnel", config)
}
