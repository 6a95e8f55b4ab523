package daemon

import (
	"io"
	"log/slog"

	"github.com/secureportal/sp/cli/config"
)

// CheckFiles tells what is wrong with files that a configuration names, which are read at the start
// and which another user than the node's may look at as well, by the fields that name them. Lists,
// credentials and key files are looked at elsewhere. It makes none.
func CheckFiles(c config.Config) map[string]error {
	all := make(map[string]error)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	check := func(field, path string, read func() error) {
		if path == "" {
			return
		}
		if err := read(); err != nil {
			all[field] = err
		}
	}
	n := c.Node
	check("tls-ca", n.TLSCA, func() error {
		_, err := newTLSFiles(config.Node{TLSCA: n.TLSCA}, quiet)
		return err
	})
	check("tls-cert", n.TLSCert, func() error {
		_, err := newTLSFiles(config.Node{TLSCert: n.TLSCert, TLSKey: n.TLSKey}, quiet)
		return err
	})
	check("brokers", n.BrokersFile, func() error {
		_, _, err := readBrokers(n.BrokersFile)
		return err
	})
	check("proxy-password-file", n.ProxyPasswordFile, func() error {
		_, err := newProxies(n, quiet)
		return err
	})
	for _, o := range c.Outlets {
		check("target-ca", o.TargetCA, func() error {
			_, err := readTargetCA(o.TargetCA)
			return err
		})
	}
	return all
}

// CheckTokenFile tells what is wrong with the file of Options.Metrics.TokenFile.
func CheckTokenFile(path string) error {
	_, err := readToken(path)
	return err
}
