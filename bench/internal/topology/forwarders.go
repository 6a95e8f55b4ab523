//go:build linux

package topology

import (
	"fmt"
	"strconv"
)

// Buffers this large in every connection make idle ones a measure of nothing.
const forwarderIdleMax = 1000

// splice is n plain forwarders in a row whose bytes the kernel moves.
func splice(name string, n int) Topology {
	return Topology{
		Name:    name,
		About:   fmt.Sprintf("%d plain Go forwarders (splice, no crypto)", n),
		Relayed: n > 2,
		Needs:   []string{"bench"},
		start: func(s *site, target string) (string, error) {
			entry := target
			for range n {
				var err error
				if entry, err = s.forward(entry, "splice"); err != nil {
					return "", err
				}
			}
			return entry, nil
		},
	}
}

// copies is two plain forwarders that read and write.
func copies(name string, buffer int) Topology {
	return Topology{
		Name:    name,
		About:   fmt.Sprintf("two that read and write (%d KiB, no crypto)", buffer>>10),
		Needs:   []string{"bench"},
		IdleMax: forwarderIdleMax,
		start: func(s *site, target string) (string, error) {
			far, err := s.forward(target, "copy", "-buffer", strconv.Itoa(buffer))
			if err != nil {
				return "", err
			}
			return s.forward(far, "copy", "-buffer", strconv.Itoa(buffer))
		},
	}
}

// sealing is what bounds any tunnel in Go: read and write, one seal, one open.
func sealing(name string, batch int) Topology {
	return Topology{
		Name:    name,
		About:   fmt.Sprintf("limit: read, seal, open, write (%d × 64 KiB)", batch),
		Cipher:  spCipher,
		Needs:   []string{"bench"},
		IdleMax: forwarderIdleMax,
		start: func(s *site, target string) (string, error) {
			far, err := s.forward(target, "open", "-batch", strconv.Itoa(batch))
			if err != nil {
				return "", err
			}
			return s.forward(far, "seal", "-batch", strconv.Itoa(batch))
		},
	}
}

// sealingRelayed is the same limit through a relay that splices.
func sealingRelayed() Topology {
	return Topology{
		Name:    "copy+aead3",
		About:   "limit through a splicing relay (4 × 64 KiB)",
		Cipher:  spCipher,
		Relayed: true,
		Needs:   []string{"bench"},
		IdleMax: forwarderIdleMax,
		start: func(s *site, target string) (string, error) {
			far, err := s.forward(target, "open")
			if err != nil {
				return "", err
			}
			middle, err := s.forward(far, "splice")
			if err != nil {
				return "", err
			}
			return s.forward(middle, "seal")
		},
	}
}

// forward starts a forwarder to target and returns where it listens.
func (s *site) forward(target, mode string, args ...string) (string, error) {
	p, err := s.run("bench", append([]string{"forward", "-mode", mode, "-to", target}, args...)...)
	if err != nil {
		return "", err
	}
	return p.FirstLine(s.ctx)
}
