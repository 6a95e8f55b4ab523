package transport

import (
	"context"
	"net"

	"github.com/secureportal/sp/wire"
)

// LookUp returns the addresses that a stands for: those of its host, if that is a name, and itself
// otherwise. ctx bounds it.
func LookUp(ctx context.Context, a Address) ([]Address, error) {
	if a.Kind != wire.DNS {
		return []Address{a}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", a.Name)
	if err != nil {
		return nil, err
	}
	all := make([]Address, 0, len(found))
	for _, ip := range found {
		all = append(all, ipAddress(ip.Unmap().WithZone(""), a.Port))
	}
	return all, nil
}
