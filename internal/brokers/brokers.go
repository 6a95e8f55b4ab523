// Package brokers reads how a node logs in at the brokers of queues, from a file of its own: what
// is secret never stands in an address, on a command line or in a log.
//
// A line of the file says one thing about one broker, by the host and, if it is for that port only,
// the port of its addresses:
//
//	HOST[:PORT]  WHAT  VALUE
//
// Blank lines, and those that begin with #, mean nothing. What there is to say:
//
//	user      NAME       who logs in, and
//	password  SECRET     by what: the rest of the line
//	token     SECRET     in place of both (NATS)
//	creds     FILE       of a JWT and its key, in place of all that (NATS)
//	sasl      MECHANISM  plain, scram-sha-256 or, if it is not said, scram-sha-512 (Kafka)
//	tls       yes|first  over TLS or not at all; first is before anything else is said (NATS)
//	tls       no         without TLS as well, though a password or a token is shown: whoever is in
//	                     between can read that, and ask for it. Otherwise it is shown over TLS
//	                     alone, but to a broker on this machine
//	ca        FILE       of who signs for the broker, in place of the system's; says tls yes as well
//	cert      FILE       of what is shown to the broker in TLS, and
//	key       FILE       of its key
//
// *.DOMAIN in place of HOST is all hosts below a domain that have no lines of their own, as those
// of one cluster. A broker has only what stands behind its own name. No other one is ever shown
// that.
package brokers

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	// MaxFile is how many bytes of such a file, and of each that it names, are read.
	MaxFile = 64 << 10

	maxLogins = 256 // brokers in one file
)

// Login is how one broker is logged in at. The zero value shows nothing, over TLS if the broker
// asks for it.
type Login struct {
	User, Password string // Password is secret, as are Token and Creds
	Token          string
	Creds          []byte // text of a file
	Mechanism      string // of SASL; "" is not said

	TLS         bool // or not at all
	InClear     bool // what is secret may be shown without TLS as well
	TLSFirst    bool // before anything else is said
	Roots       *x509.CertPool
	Certificate *tls.Certificate
}

// hasSecret tells whether the broker is shown something that it could use elsewhere.
func (l Login) hasSecret() bool { return l.Password != "" || l.Token != "" }

// NeedsTLS tells whether the broker at host is to be spoken to over TLS or not at all: because that
// has been said, or because it is shown something secret and is not on this machine.
func (l Login) NeedsTLS(host string) bool {
	return l.TLS || l.hasSecret() && !l.InClear && !isHere(host)
}

// isHere tells whether a host's name or IP address is this machine's own, for itself only.
func isHere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// TLSConfig returns what to dial the broker with, which goes by the name of host. Unlike links of
// nodes, it is made only if the certificate is good: what is shown in it may be secret.
func (l Login) TLSConfig(host string) *tls.Config {
	c := &tls.Config{ServerName: host, RootCAs: l.Roots, MinVersion: tls.VersionTLS12}
	if l.Certificate != nil {
		c.Certificates = []tls.Certificate{*l.Certificate}
	}
	return c
}

// Logins is those of all brokers that a file has. Nil has none.
type Logins struct{ by map[string]*draft }

// draft is a Login whose files have not been read together yet.
type draft struct {
	Login
	cert, key []byte
}

// Parse reads the text of such a file, and what it names with read. Its errors say which line is
// wrong, and nothing of what is secret.
func Parse(text string, read func(path string) ([]byte, error)) (*Logins, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("the file has more than %d bytes", MaxFile)
	}
	l := &Logins{by: make(map[string]*draft)}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, MaxFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := l.line(line, read); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	for host, d := range l.by {
		if err := d.finish(); err != nil {
			return nil, fmt.Errorf("%s: %w", host, err)
		}
	}
	return l, nil
}

func cutWord(text string) (word, rest string) {
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimSpace(text[i:])
}

func (l *Logins) line(line string, read func(string) ([]byte, error)) error {
	host, rest := cutWord(line)
	what, value := cutWord(rest)
	if value == "" {
		return errors.New("a line is HOST[:PORT] WHAT VALUE")
	}
	host, err := normal(host)
	if err != nil {
		return err
	}
	d := l.by[host]
	if d == nil {
		if len(l.by) == maxLogins {
			return fmt.Errorf("there are more than %d brokers", maxLogins)
		}
		d = &draft{}
		l.by[host] = d
	}
	if err := d.set(what, value, read); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// normal is the one spelling of a host, and perhaps a port.
func normal(at string) (string, error) {
	if strings.Contains(at, "/") || strings.Contains(at, "@") {
		return "", errors.New("a broker is HOST or HOST:PORT here, without a scheme or a user")
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		host, port = strings.Trim(at, "[]"), ""
	}
	host = strings.ToLower(host)
	if domain := strings.TrimPrefix(host, below); domain == "" || strings.Contains(domain, "*") {
		return "", errors.New("in place of HOST there may be *.DOMAIN, and no other * in it")
	}
	if port == "" {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("a port is a number from 1 to 65535")
	}
	return net.JoinHostPort(host, strconv.Itoa(int(n))), nil
}

// below begins what stands for all hosts below a domain.
const below = "*."

// mechanisms are those of SASL that there are.
var mechanisms = []string{"plain", "scram-sha-256", "scram-sha-512"}

func (d *draft) set(what, value string, read func(string) ([]byte, error)) (err error) {
	switch what {
	case "user":
		d.User = value
	case "password":
		d.Password = value
	case "token":
		d.Token = value
	case "sasl":
		d.Mechanism = strings.ToLower(value)
		if !slices.Contains(mechanisms, d.Mechanism) {
			return errors.New("it is one of " + strings.Join(mechanisms, ", "))
		}
	case "tls":
		if value != "yes" && value != "first" && value != "no" {
			return errors.New("it is yes, first or no")
		}
		d.TLS, d.InClear = d.TLS || value != "no", d.InClear || value == "no"
		d.TLSFirst = value == "first"
	case "creds":
		d.Creds, err = read(value)
	case "ca":
		pem, err := read(value)
		if err != nil {
			return err
		}
		d.TLS, d.Roots = true, x509.NewCertPool()
		if !d.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s has no certificate in PEM", value)
		}
	case "cert":
		d.TLS = true
		d.cert, err = read(value)
	case "key":
		d.key, err = read(value)
	default:
		return errors.New("it is none of user, password, token, creds, sasl, tls, ca, cert, key")
	}
	return err
}

func (d *draft) finish() error {
	if (d.cert == nil) != (d.key == nil) {
		return errors.New("cert and key go together")
	}
	if d.cert != nil {
		pair, err := tls.X509KeyPair(d.cert, d.key)
		if err != nil {
			return errors.New("cert and key are not in PEM, or not of one another")
		}
		d.Certificate, d.cert, d.key = &pair, nil, nil
	}
	ways := 0
	for _, one := range []bool{d.User != "" || d.Password != "", d.Token != "", d.Creds != nil} {
		if one {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("user and password, token, and creds are three ways: one is enough")
	case (d.User == "") != (d.Password == ""):
		return errors.New("user and password go together")
	case d.TLS && d.InClear:
		return errors.New("tls no goes with nothing that is of TLS: neither yes, first, ca nor cert")
	}
	return nil
}

// For returns how to log in at the broker at host and port: what is said of both, or else of the
// host, or else of the nearest domain that it is below. No other broker's is it ever.
func (l *Logins) For(host string, port uint16) Login {
	if l == nil {
		return Login{}
	}
	host = strings.ToLower(host)
	if d := l.at(host, port); d != nil {
		return d.Login
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return Login{}
	}
	for _, domain, ok := strings.Cut(host, "."); ok; _, domain, ok = strings.Cut(domain, ".") {
		if d := l.at(below+domain, port); d != nil {
			return d.Login
		}
	}
	return Login{}
}

// at returns what stands behind a name, for that port or else for all, or nil.
func (l *Logins) at(name string, port uint16) *draft {
	if d := l.by[net.JoinHostPort(name, strconv.Itoa(int(port)))]; d != nil {
		return d
	}
	return l.by[name]
}
