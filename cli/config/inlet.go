package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/portal/udp"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// Inlet listens where clients are, and opens a stream to an outlet for each of their
// connections.
type Inlet struct {
	// Listen is where clients connect: host:port, unix:PATH, or Stdio; or udp://host:port, where they
	// send datagrams. No host is localhost: loopback, in IPv4 and in IPv6 where there is both. Port 0
	// is a free one. Field "listen".
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

	// UDPIdle ends what carries a client's datagrams when there have been none for so long. 0 means
	// DefaultUDPIdle. Field "udp-idle".
	UDPIdle time.Duration
}

// DefaultUDPIdle is how long there are no datagrams until what carries a client's ends.
const DefaultUDPIdle = udp.DefaultIdle

// IsUDP tells whether the inlet is for datagrams.
func (i Inlet) IsUDP() bool { return transport.IsUDP(i.Listen) }

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
	if i.ListenWhenReady && i.IsUDP() {
		return fieldError("listen-when-ready", "{listen-when-ready} is not for {listen} of udp://: "+
			"whoever sends a datagram is not told that nobody listens")
	}
	if i.Socks5 && i.IsUDP() {
		return fieldError("socks5", "{socks5} is not for {listen} of udp://: clients of SOCKS 5 make "+
			"connections here")
	}
	if i.UDPIdle < 0 {
		return notATime("udp-idle", i.UDPIdle)
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
	parse := transport.ParseListen
	if i.IsUDP() {
		parse = transport.ParseUDP
	}
	a, err := parse(i.Listen, transport.Localhost)
	if err != nil {
		return a, fieldError("listen", "{listen}: %w", err)
	}
	if transport.IsURL(i.Listen) {
		return a, fieldError("listen", "{listen} %s: clients of an inlet come over TCP, or to a Unix "+
			"socket: host:port or unix:PATH; or they send datagrams: udp://host:port", i.Listen)
	}
	return a, nil
}

// Routes returns the routes that To holds, to a service of the kind that the inlet is for.
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
		if err == nil && i.IsUDP() {
			to, err = toDatagrams(to)
		} else if err == nil && route.IsToDatagrams(to) {
			err = errors.New("a service of datagrams is for an inlet that listens at udp://")
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

// toDatagrams returns the route to the service of datagrams that to means.
func toDatagrams(to route.Route) (route.Route, error) {
	to = route.ToDatagrams(to)
	err := to[len(to)-1].Validate()
	if err != nil {
		err = fmt.Errorf("a service of datagrams has a name of at most %d bytes",
			route.MaxDatagramsName)
	}
	return to, err
}
