package route

import (
	"context"
	"strings"

	"github.com/secureportal/sp/wire"
)

// A service of datagrams is another one than a service of a stream, and has another name: so nobody
// takes the one for the other, whichever versions the two ends are of. It is asked for inside the
// channel, where nobody on the way can change or see it.

// DatagramsPrefix and the name of a service is that service's name where it is one of datagrams.
const DatagramsPrefix = "datagrams_"

// datagramsMark begins the text of a route to such a service, where it is not its inlet that says
// so.
const datagramsMark = "udp://"

// MaxDatagramsName is the most bytes of the name of a service behind DatagramsPrefix.
const MaxDatagramsName = wire.MaxName - len(DatagramsPrefix)

// ToDatagrams returns a route to the service of datagrams of the name that r's last step has.
func ToDatagrams(r Route) Route {
	last := len(r) - 1
	if last < 0 || r[last].Kind != wire.Service || IsToDatagrams(r) {
		return r
	}
	r = append(r[:last:last], r[last])
	r[last].Name = DatagramsPrefix + r[last].Name
	return r
}

// IsToDatagrams tells whether the service that r leads to is one of datagrams.
func IsToDatagrams(r Route) bool {
	last := len(r) - 1
	return last >= 0 && r[last].Kind == wire.Service &&
		strings.HasPrefix(r[last].Name, DatagramsPrefix)
}

// What a node says that has a service of the other kind.
const (
	isDatagrams = "it is a service of datagrams (UDP), and this asks for connections"
	isStreams   = "it is a service of connections (TCP), and this asks for datagrams"
)

// whatIsMissing says that a node has not got the service called name. Who is trusted learns what
// there is in place of it.
func (n *Node) whatIsMissing(ctx context.Context, name string, trusted bool) string {
	if trusted {
		other, reason := DatagramsPrefix+name, isDatagrams
		if plain, ok := strings.CutPrefix(name, DatagramsPrefix); ok {
			other, reason = plain, isStreams
		}
		if _, ok, err := n.offers.resolve(ctx, other); ok && err == nil {
			return reason
		}
	}
	return missing(name)
}

// IsOtherKind tells whether the node says that it has the service, but of datagrams where
// connections were asked for, or the other way round.
func (e *StatusError) IsOtherKind() (hasDatagrams, ok bool) {
	if e.Code != wire.NoService {
		return false, false
	}
	return e.Reason == isDatagrams, e.Reason == isDatagrams || e.Reason == isStreams
}
