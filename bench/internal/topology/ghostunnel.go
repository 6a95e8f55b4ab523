//go:build linux

package topology

// ghostunnel is a pair with mutual TLS 1.3, without its log of connections.
func ghostunnel() Topology {
	return Topology{
		Name:   "ghostunnel",
		About:  "ghostunnel (mutual TLS 1.3, Go)",
		Cipher: goTLSCipher,
		Needs:  []string{"ghostunnel"},
		start: func(s *site, target string) (string, error) {
			server, err := s.ghostunnelServer(target)
			if err != nil {
				return "", err
			}
			if server, err = s.link(server); err != nil {
				return "", err
			}
			return s.ghostunnelClient(server)
		},
	}
}

func (s *site) ghostunnelServer(target string) (string, error) {
	return s.ghostunnelSide("server", target, s.kit.certs.server, "--allow-cn", "client")
}

func (s *site) ghostunnelClient(server string) (string, error) {
	return s.ghostunnelSide("client", server, s.kit.certs.client, "--verify-cn", "server")
}

// ghostunnelSide starts one of the two and returns where it listens. far says who
// is at the other side.
func (s *site) ghostunnelSide(side, target string, own keyPair, far ...string) (string, error) {
	a, err := addrs(1)
	if err != nil {
		return "", err
	}
	args := []string{
		side, "--listen", a[0], "--target", target,
		"--cert", own.cert, "--key", own.key, "--cacert", s.kit.certs.authority,
	}
	return a[0], s.runAt(a[0], "ghostunnel", append(append(args, far...), "--quiet", "all")...)
}
