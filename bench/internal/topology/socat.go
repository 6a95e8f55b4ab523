//go:build linux

package topology

// Every connection is two processes.
const socatIdleMax = 100

// socat is a pair with mutual TLS 1.3 and a process for each connection.
func socat() Topology {
	return Topology{
		Name:    "socat",
		About:   "socat (mutual TLS 1.3, a process per connection)",
		Cipher:  opensslCipher,
		Needs:   []string{"socat"},
		IdleMax: socatIdleMax,
		start: func(s *site, target string) (string, error) {
			a, err := addrs(2)
			if err != nil {
				return "", err
			}
			if err := s.runAt(a[0], "socat",
				socatListen("OPENSSL-LISTEN", a[0])+s.socatTLS(s.kit.certs.server),
				"TCP:"+target+",nodelay"); err != nil {
				return "", err
			}
			server, err := s.link(a[0])
			if err != nil {
				return "", err
			}
			return a[1], s.runAt(a[1], "socat",
				socatListen("TCP-LISTEN", a[1]),
				"OPENSSL:"+server+",nodelay,commonname=127.0.0.1"+s.socatTLS(s.kit.certs.client))
		},
	}
}

func socatListen(kind, addr string) string {
	return kind + ":" + port(addr) + ",bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=1024"
}

// socatTLS is the options of an end that has this key and verifies the other.
func (s *site) socatTLS(own keyPair) string {
	return ",cert=" + own.both + ",openssl-min-proto-version=TLS1.3,verify=1,cafile=" +
		s.kit.certs.authority
}
