//go:build linux

package topology

import (
	"fmt"
	"slices"
	"strings"
)

// subject is the queue that an outlet and its inlet meet at.
const subject = "bench"

// spOver are sp's inlet and outlet that reach each other by another transport than TCP.
func spOver() []Topology {
	return []Topology{
		spBy("tls", "sp, direct, over TLS", spTLS),
		spBy("ws", "sp, direct, over a WebSocket", spPlain("ws")),
		spBy("wss", "sp, direct, over a WebSocket in TLS", spTLS),
		spBy("quic", "sp, direct, over QUIC", spPlain("quic")),
		needs(spBy("nats", "sp through a NATS server", spNATS), "nats-server"),
		needs(spBy("kafka", "sp through a broker that speaks Kafka (kfake)", spKafka), "bench"),
	}
}

// over says where an outlet listens, and with what other flags each of the two comes.
type over struct {
	at            string
	outlet, inlet []string
}

func spBy(scheme, about string, by func(s *site, scheme string) (over, error)) Topology {
	return Topology{
		Name:   "sp-" + scheme,
		About:  about,
		Cipher: spCipher,
		Needs:  []string{spAfter},
		start: func(s *site, target string) (string, error) {
			o, err := by(s, scheme)
			if err != nil {
				return "", err
			}
			flags := slices.Concat(o.outlet, []string{"--listen", o.at, "--target", target})
			if err := s.spRun("outlet", flags...); err != nil {
				return "", err
			}
			return s.spListener("inlet", append(o.inlet, "--to", o.at)...)
		},
	}
}

func needs(t Topology, program string) Topology {
	t.Relayed = true
	t.Needs = append(t.Needs, program)
	return t
}

// spPlain is a transport that asks for nothing but an address.
func spPlain(scheme string) func(*site, string) (over, error) {
	return func(*site, string) (over, error) {
		a, err := addrs(1)
		if err != nil {
			return over{}, err
		}
		return over{at: scheme + "://" + a[0]}, nil
	}
}

// spTLS has a certificate.
func spTLS(s *site, scheme string) (over, error) {
	o, err := spPlain(scheme)(s, scheme)
	own := s.kit.certs.server
	o.outlet = []string{"--tls-cert", own.cert, "--tls-key", own.key}
	o.inlet = []string{"--tls-ca", s.kit.certs.authority}
	return o, err
}

func spNATS(s *site, scheme string) (over, error) {
	a, err := addrs(1)
	if err != nil {
		return over{}, err
	}
	host, port := split(a[0])
	if err := s.runAt(a[0], "nats-server", "-a", host, "-p", port); err != nil {
		return over{}, err
	}
	return over{at: scheme + "://" + a[0] + "/" + subject}, nil
}

func spKafka(s *site, scheme string) (over, error) {
	p, err := s.run("bench", "kafka", "-topic", subject)
	if err != nil {
		return over{}, err
	}
	at, err := p.FirstLine(s.ctx)
	if err != nil {
		return over{}, fmt.Errorf("kafka: %w", err)
	}
	return over{at: scheme + "://" + strings.TrimSpace(at) + "/" + subject}, nil
}
