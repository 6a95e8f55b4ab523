package transport

import (
	"context"
	"net"

	"github.com/secureportal/sp/wire"
)

// What a name without a port is looked up as (RFC 2782): _sp._tcp.NAME.
const (
	srvService  = "sp"
	srvProtocol = "tcp"
)

// LookUp returns the addresses that a stands for: those of its host, if that is a name, and itself
// otherwise. A name with port 0 stands for the hosts and ports of its SRV records. ctx bounds it.
func LookUp(ctx context.Context, a Address) (all []Address, err error) {
	switch {
	case a.Kind != wire.DNS:
		return []Address{a}, nil
	case a.Port != 0:
		return lookUpHost(ctx, a.Name, a.Port)
	}
	_, services, err := net.DefaultResolver.LookupSRV(ctx, srvService, srvProtocol, a.Name)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		some, failed := lookUpHost(ctx, s.Target, s.Port)
		if err == nil {
			err = failed
		}
		all = append(all, some...)
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

func lookUpHost(ctx context.Context, name string, port uint16) ([]Address, error) {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	all := make([]Address, 0, len(found))
	for _, ip := range found {
		all = append(all, ipAddress(ip.Unmap().WithZone(""), port))
	}
	return all, nil
}
