package config

import (
	"net/netip"

	"github.com/secureportal/sp/route/transport"
)

// Metrics says where a process tells how it does, over HTTP, and to whom, whatever it runs. The
// zero value tells nobody.
type Metrics struct {
	// Listen is where: host:port or unix:PATH. No host is localhost; port 0 is a free one. Empty
	// is nowhere. Field "metrics".
	Listen string

	// TokenFile has what whoever asks must show, and is read again for each. It is needed where
	// others than this machine can ask. Field "metrics-token-file".
	TokenFile string

	// Pprof has profiles of the process told as well. Field "metrics-pprof".
	Pprof bool
}

// Validate says which field is wrong, or returns nil.
func (m Metrics) Validate() error {
	a, err := m.Address()
	switch {
	case err != nil:
		return err
	case m.Listen == "" && (m.TokenFile != "" || m.Pprof):
		return fieldError("metrics", "{metrics} is missing: where to tell them?")
	case m.Listen != "" && m.TokenFile == "" && !isOfThisMachine(a):
		return fieldError("metrics-token-file",
			"{metrics} %q is not this machine alone: {metrics-token-file} must say who may ask", m.Listen)
	}
	return nil
}

// Address is where Listen says, and the zero Address if that is nowhere.
func (m Metrics) Address() (Address, error) {
	if m.Listen == "" {
		return Address{}, nil
	}
	a, err := transport.ParseListen(m.Listen, transport.Localhost)
	if err != nil {
		return a, fieldError("metrics", "{metrics}: %w", err)
	}
	return a, nil
}

// isOfThisMachine tells whether nobody elsewhere can connect to an address.
func isOfThisMachine(a Address) bool {
	if transport.Scheme(a) == "unix" || a.Name == transport.Localhost {
		return true
	}
	ip, err := netip.ParseAddr(a.Name)
	return a.IP.IsLoopback() || err == nil && ip.IsLoopback()
}
