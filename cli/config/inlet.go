package config

import (
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// Inlet listens where clients are, and opens a stream to an outlet for each of their
// connections.
type Inlet struct {
	// Listen is where clients connect: host:port, unix:PATH, or Stdio. No host is localhost:
	// loopback, in IPv4 and in IPv6 where there is both. Port 0 is a free one. Field "listen".
	Listen string

	// To is the routes to the outlet, the best first: a connection takes the first that is
	// open. At least one. Field "to".
	To []string

	// Socks5 has clients say what to connect to, with SOCKS 5 or HTTP's CONNECT: the outlet, which is
	// so too, connects there as far as it allows that. Field "socks5".
	Socks5 bool

	// NoWait has the start fail if no route is open. Otherwise the inlet waits for one.
	// Field "no-wait".
	NoWait bool

	// ListenWhenReady has the inlet listen while a route is open, and not before or after: who
	// connects is refused at once otherwise. Without it connections are accepted at any time, and
	// reset if no route opens. Field "listen-when-ready".
	ListenWhenReady bool

	// Once has the inlet carry one connection: the first that a client makes, and no other. Stdio is
	// always one. Field "once".
	Once bool
}

// IsOnce tells whether the inlet is for one connection.
func (i Inlet) IsOnce() bool { return i.Once || i.Listen == Stdio }

// Validate says which field is wrong, or returns nil.
func (i Inlet) Validate() error {
	if _, err := i.Address(); err != nil {
		return err
	}
	if a, _ := i.Address(); i.ListenWhenReady && transport.IsHanded(a) {
		return fieldError("listen-when-ready", "{listen} %s and {listen-when-ready} do not go together: "+
			"whoever has made the socket listens at it", i.Listen)
	}
	if i.Once && i.ListenWhenReady {
		return fieldError("once", "{once} and {listen-when-ready} do not go together")
	}
	_, err := i.Routes()
	return err
}

// Address is where Listen says, and the zero Address if that is Stdio.
func (i Inlet) Address() (Address, error) {
	if i.Listen == "" {
		return Address{}, fieldError("listen", "{listen} is missing: where do clients connect?")
	}
	if i.Listen == Stdio {
		return Address{}, nil
	}
	a, err := transport.ParseListen(i.Listen, transport.Localhost)
	if err != nil {
		return a, fieldError("listen", "{listen}: %w", err)
	}
	if transport.IsURL(i.Listen) {
		return a, fieldError("listen", "{listen} %s: clients of an inlet come over TCP, or to a Unix "+
			"socket: host:port or unix:PATH", i.Listen)
	}
	return a, nil
}

// Routes returns the routes that To holds.
func (i Inlet) Routes() ([]route.Route, error) {
	var all []route.Route
	for _, text := range i.To {
		to, err := route.Parse(text)
		if err == nil {
			err = portal.CheckRoute(to)
		}
		if err == nil {
			err = transport.Impossible(to[0])
		}
		if err != nil {
			return nil, fieldError("to", "{to}: %w", err)
		}
		if last := len(to) - 1; i.Socks5 && to[last].Name == route.OutletName {
			to[last].Name = route.ConnectName // what short forms stand for
		}
		all = append(all, to)
	}
	if len(all) == 0 {
		return nil, fieldError("to", "{to} is missing: where is the outlet?")
	}
	return all, nil
}
