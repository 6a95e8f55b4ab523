package config

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/secureportal/sp/internal/userdir"
	"github.com/secureportal/sp/route/transport"
)

// DefaultACMEServer is the directory of the authority that certificates are from unless another one
// is named: Let's Encrypt's.
const DefaultACMEServer = "https://acme-v02.api.letsencrypt.org/directory"

// ACME has a node get the certificates that it shows in TLS by itself, from an authority that looks
// whether the node is where a host's name leads to (RFC 8555, RFC 8737).
type ACME struct {
	// Hosts are the names to get certificates for. The first one's is shown to whoever asks for none
	// of them. Empty means that no certificate is asked for. Field "acme".
	Hosts []string

	// Server is the authority's directory, https://…. Empty means DefaultACMEServer.
	// Field "acme-server".
	Server string

	// Email is an address that the authority may write to. Field "acme-email".
	Email string

	// Folder is where certificates, their keys and the key of the node's account are kept. Empty
	// means sp/acme among what the user's programs remember. Field "acme-folder".
	Folder string
}

// Validate says which field is wrong, or returns nil.
func (a ACME) Validate() error {
	if len(a.Hosts) == 0 {
		for field, value := range map[string]string{
			"acme-server": a.Server, "acme-email": a.Email, "acme-folder": a.Folder,
		} {
			if value != "" {
				return fieldError("acme", "{"+field+"} stands without {acme}")
			}
		}
		return nil
	}
	for _, host := range a.Hosts {
		if !isHostForAll(host) {
			return fieldError("acme", "{acme} %q is no name of a host that others know, "+
				"such as relay.example.com", transport.Printable(host))
		}
	}
	if u, err := url.Parse(a.ServerURL()); err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return fieldError("acme-server", "{acme-server} %q is not https://HOST[:PORT]/PATH",
			transport.Printable(a.Server))
	}
	if a.Email != "" && !strings.Contains(a.Email, "@") {
		return fieldError("acme-email", "{acme-email} %q is no address", transport.Printable(a.Email))
	}
	return nil
}

// isHostForAll tells whether an authority could look a host's name up.
func isHostForAll(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return false
	}
	a, err := transport.ParseListen(host+":443", "")
	if err != nil {
		return false
	}
	name, _ := a.Host()
	return strings.EqualFold(name, host)
}

// ServerURL is Server, or the default.
func (a ACME) ServerURL() string {
	if a.Server == "" {
		return DefaultACMEServer
	}
	return a.Server
}

// ServerPort is the port of Server.
func (a ACME) ServerPort() uint16 {
	if u, err := url.Parse(a.ServerURL()); err == nil {
		if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			return uint16(port)
		}
	}
	return 443
}

// FolderPath is Folder, or the default.
func (a ACME) FolderPath() (string, error) {
	if a.Folder != "" {
		return a.Folder, nil
	}
	state, err := userdir.State()
	return filepath.Join(state, "sp", "acme"), err
}

// ServerFolder is what is kept of one authority: what another one has signed is no substitute.
func (a ACME) ServerFolder() (string, error) {
	folder, err := a.FolderPath()
	u, _ := url.Parse(a.ServerURL())
	if err != nil || u == nil {
		return folder, err
	}
	sum := sha256.Sum256([]byte(a.ServerURL()))
	return filepath.Join(folder, fmt.Sprintf("%s-%x", u.Hostname(), sum[:4])), nil
}
