//go:build linux

package topology

// chisel is SSH in a WebSocket, as it comes.
func chisel() Topology {
	return Topology{
		Name:   "chisel",
		About:  "chisel (SSH in a WebSocket, Go)",
		Cipher: "aes128-gcm@openssh.com",
		Needs:  []string{"chisel"},
		start: func(s *site, target string) (string, error) {
			a, err := addrs(2)
			if err != nil {
				return "", err
			}
			host, port := split(a[0])
			err = s.runAt(a[0], "chisel", "server", "--host", host, "--port", port)
			if err != nil {
				return "", err
			}
			server, err := s.link(a[0])
			if err != nil {
				return "", err
			}
			return a[1], s.runAt(a[1], "chisel", "client", "http://"+server, a[1]+":"+target)
		},
	}
}
