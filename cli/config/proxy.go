package config

import (
	"net/netip"
	"strings"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/transport"
)

// NoProxy, as Node.Proxy, has connections made without one, whatever the environment says.
const NoProxy = "none"

// EnvironmentProxies are the proxies that an environment names, as its variables have them. Those
// that are no proxies are left out: the variables are other programs' as well.
type EnvironmentProxies struct {
	HTTPS, HTTP, All string

	// Except is where no proxy leads: see transport.Proxies.
	Except string
}

// Unusable are the variables whose proxies are left out: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY.
func (e EnvironmentProxies) Unusable() (names []string) {
	for _, one := range []struct{ name, text string }{
		{"HTTPS_PROXY", e.HTTPS}, {"HTTP_PROXY", e.HTTP}, {"ALL_PROXY", e.All},
	} {
		if one.text != "" && environmentProxy(one.text) == nil {
			names = append(names, one.name)
		}
	}
	return names
}

// ParseProxies returns the proxies by which connections go out. The password is not among it.
func (n Node) ParseProxies() (transport.Proxies, error) {
	all := transport.Proxies{Except: n.Proxies.Except}
	switch n.Proxy {
	case NoProxy:
		all = transport.Proxies{}
	case "":
		all.HTTPS = environmentProxy(n.Proxies.HTTPS)
		all.HTTP = environmentProxy(n.Proxies.HTTP)
		all.All = environmentProxy(n.Proxies.All)
	default:
		p, err := transport.ParseProxy(n.Proxy)
		if err != nil {
			return all, fieldError("proxy", "{proxy}: %w", err)
		}
		all = transport.Proxies{All: p, HereToo: true}
	}
	switch {
	case n.ProxyPasswordFile == "":
	case n.Proxy == "" || n.Proxy == NoProxy:
		return all, fieldError("proxy", "{proxy-password-file} stands without {proxy}")
	case !all.All.HasUser():
		return all, fieldError("proxy", "{proxy-password-file} is for a user: "+
			"{proxy} http://USER@HOST:PORT")
	case all.All.HasPassword():
		return all, fieldError("proxy", "{proxy} has a password, and {proxy-password-file} another one")
	}
	return all, nil
}

func environmentProxy(text string) *transport.Proxy {
	if text == "" {
		return nil
	}
	p, err := transport.ParseProxy(text)
	if err != nil {
		return nil
	}
	return p
}

// ParseBind returns where connections go out from.
func (n Node) ParseBind() (netio.From, error) {
	if n.Bind == "" {
		return netio.From{}, nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(n.Bind, "[]")); err == nil {
		return netio.From{Addr: ip.Unmap()}, nil
	}
	if strings.ContainsAny(n.Bind, ":/ ") {
		return netio.From{}, fieldError("bind", "{bind} %q is neither an IP address nor the name of an "+
			"interface", transport.Printable(n.Bind))
	}
	return netio.From{Interface: n.Bind}, nil
}
