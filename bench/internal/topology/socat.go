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
			c := s.kit.certs
			const tls = ",openssl-min-proto-version=TLS1.3,verify=1,cafile="
			err = s.runAt(a[0], "socat",
				"OPENSSL-LISTEN:"+port(a[0])+",bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=1024,cert="+c.server.both+tls+c.authority,
				"TCP:"+target+",nodelay")
			if err != nil {
				return "", err
			}
			return a[1], s.runAt(a[1], "socat",
				"TCP-LISTEN:"+port(a[1])+",bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=1024",
				"OPENSSL:"+a[0]+",nodelay,commonname=127.0.0.1,cert="+c.client.both+tls+c.authority)
		},
	}
}
