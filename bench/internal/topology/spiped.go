//go:build linux

package topology

import "crypto/rand"

// spiped is a pair with a shared key and no limit of connections.
func spiped() Topology {
	return Topology{
		Name:    "spiped",
		About:   "spiped",
		Cipher:  "AES-256-CTR, HMAC-SHA256",
		Needs:   []string{"spiped"},
		IdleMax: pollIdleMax,
		start: func(s *site, target string) (string, error) {
			a, err := addrs(2)
			if err != nil {
				return "", err
			}
			key, err := s.write("spiped.key", rand.Text()+rand.Text())
			if err != nil {
				return "", err
			}
			if err := s.spipedEnd("-d", a[0], target, key); err != nil {
				return "", err
			}
			return a[1], s.spipedEnd("-e", a[1], a[0], key)
		},
	}
}

func (s *site) spipedEnd(direction, listen, target, key string) error {
	return s.runAt(listen, "spiped", "-F", direction, "-n", "0", "-k", key,
		"-s", bracketed(listen), "-t", bracketed(target))
}
