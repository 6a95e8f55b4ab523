package daemon

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/secureportal/sp/internal/natsconn"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/directory"
	"github.com/secureportal/sp/route/relay/directory/natsbus"
	"github.com/secureportal/sp/route/transport"
)

// DirectoryReport is the directory by which a relay finds names of other sets.
type DirectoryReport struct {
	Portal  string   `json:"portal"`
	Servers []string `json:"servers"`
	Up      bool     `json:"up"`
	Since   float64  `json:"since"` // it went up, or down
	Error   string   `json:"error,omitempty"`
	Found   int      `json:"found"` // names of other sets of which something is known
}

// owned is called by the mesh when something has changed of whose a name is.
func (n *setNode) owned(name string) {
	if n.directory != nil {
		n.directory.Owned(name)
	}
}

// limitReach has names that somebody says on the directory lead nowhere that only this machine
// means.
func (n *setNode) limitReach(own []route.Address) func(*route.Config) {
	return func(c *route.Config) {
		if len(n.config.Directory) > 0 {
			c.Reach = directory.Reach(own, func(a route.Address) bool { return n.mesh.HasAt(a) })
		}
	}
}

// buildDirectory makes what finds names of other sets, if there is to be any, and tries its files.
func (n *setNode) buildDirectory(node *route.Node) error {
	if len(n.config.Directory) == 0 {
		return nil
	}
	if _, err := n.directoryServers(); err != nil {
		return err
	}
	n.bus = natsbus.New(natsbus.Config{
		Servers: n.directoryServers, Name: "sp relay " + n.mesh.ID().String(),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			a, err := transport.Parse(address)
			if err != nil {
				return nil, err
			}
			return n.dialer.node.DialLink(ctx, a)
		},
		Logger: n.site.logger,
	})
	n.directory = directory.New(directory.Config{
		Set: n.mesh, Bus: n.bus, Self: n.site.self.Identifier(), Addresses: n.mesh.Addresses,
		Logger: n.site.logger, Go: node.Go,
	})
	return nil
}

// directoryServers are those that are named, and how to log in there as the file says now.
func (n *setNode) directoryServers() ([]natsconn.Server, error) {
	named, err := n.config.DirectoryServers()
	if err != nil {
		return nil, err
	}
	logins, _, err := readBrokers(n.site.config.BrokersFile)
	if err != nil {
		return nil, err
	}
	var all []natsconn.Server
	for _, s := range named {
		host, both := s.HostPort()
		all = append(all, natsconn.Server{Address: both, Login: logins.For(host, s.Port)})
	}
	return all, nil
}

// reportDirectory tells how the directory is.
func (n *setNode) reportDirectory() DirectoryReport {
	now, since := n.directory.Status()
	return DirectoryReport{
		Portal: titled(RelayKind, n.config.Listen), Servers: n.config.Directory, Up: now.Up,
		Since: time.Since(since).Seconds(), Error: errorText(now.Err), Found: n.directory.Found(),
	}
}

// trouble says that the directory is down, or nothing.
func (r DirectoryReport) trouble() string {
	if r.Up {
		return ""
	}
	why := r.Error
	if why == "" {
		why = "it has not been reached yet"
	}
	since := time.Duration(r.Since * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("the directory %s has been down for %s, and names of other sets are not "+
		"found: %s", strings.Join(r.Servers, ", "), since, why)
}
