package relay

import (
	"context"
	"net"
	"net/netip"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/direct"
	"github.com/secureportal/sp/wire"
)

// observed tells who asks at which address this side sees him. Only one who has come by TCP can
// make anything of that.
func observed(_ context.Context, q *route.Request) error {
	peer, ok := q.Conn().RemoteAddr().(*net.TCPAddr)
	if !ok || q.Session != nil {
		return route.Refuse(wire.NoService, "no service named "+route.ObservedName)
	}
	at := peer.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	s := q.Accept()
	if _, err := s.Write(direct.AppendAddresses(nil, []netip.AddrPort{at})); err != nil {
		return err
	}
	return s.CloseWrite()
}
