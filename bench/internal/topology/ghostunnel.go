//go:build linux

package topology

// ghostunnel is a pair with mutual TLS 1.3, without its log of connections.
func ghostunnel() Topology {
	return Topology{
		Name:  "ghostunnel",
		About: "ghostunnel (mutual TLS 1.3, Go)",
		Needs: []string{"ghostunnel"},
		start: func(s *site, target string) (string, error) {
			a, err := addrs(1)
			if err != nil {
				return "", err
			}
			if err := s.ghostunnelServer(a[0], target); err != nil {
				return "", err
			}
			server, err := s.link(a[0])
			if err != nil {
				return "", err
			}
			return s.ghostunnelClient(server)
		},
	}
}

func (s *site) ghostunnelServer(listen, target string) error {
	c := s.kit.certs
	return s.runAt(listen, "ghostunnel", "server", "--listen", listen, "--target", target,
		"--cert", c.server.cert, "--key", c.server.key, "--cacert", c.authority,
		"--allow-cn", "client", "--quiet", "all")
}

func (s *site) ghostunnelClient(server string) (string, error) {
	a, err := addrs(1)
	if err != nil {
		return "", err
	}
	c := s.kit.certs
	return a[0], s.runAt(a[0], "ghostunnel", "client", "--listen", a[0], "--target", server,
		"--cert", c.client.cert, "--key", c.client.key, "--cacert", c.authority,
		"--verify-cn", "server", "--quiet", "all")
}
