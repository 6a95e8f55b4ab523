package transport

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// Proxy is somebody who makes TCP connections for others. He sees whom one talks to, and the
// ciphertext.
type Proxy struct {
	scheme   string  // http or socks5
	at       Address // a TCP address
	user     string
	password string
}

// ParseProxy reads http://[USER[:PASSWORD]@]HOST[:PORT] or socks5://…, or http without http://. Its
// error holds no password.
func ParseProxy(text string) (*Proxy, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("that is no URL: http://HOST:PORT or socks5://HOST:PORT")
	}
	p := &Proxy{scheme: strings.ToLower(u.Scheme)}
	usual := uint16(80)
	switch p.scheme {
	case "http":
	case "socks5", "socks5h": // he looks up names in any case
		p.scheme, usual = "socks5", 1080
	default:
		return nil, fmt.Errorf("a proxy is http:// or socks5://, not %s://", Printable(u.Scheme))
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, errors.New("a proxy has no path")
	}
	p.user = u.User.Username()
	p.password, _ = u.User.Password()
	if p.at, err = parseURLHost(u.Host, urlKind{port: usual}); err == nil {
		err = hostMissing(Address{Name: p.at.Name + ipText(p.at.IP)})
	}
	if err == nil && p.at.Port == 0 {
		err = errors.New("nobody listens at port 0")
	}
	return p, err
}

func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// HasPassword tells whether p has a password of its own.
func (p *Proxy) HasPassword() bool { return p.password != "" }

// WithPassword returns p with a password.
func (p *Proxy) WithPassword(password string) *Proxy {
	with := *p
	with.password = password
	return &with
}

// HasUser tells whether p is told who somebody is.
func (p *Proxy) HasUser() bool { return p.user != "" }

// Address is where p is.
func (p *Proxy) Address() Address { return p.at }

// String is p without what is secret.
func (p *Proxy) String() string { return p.scheme + "://" + Format(p.at) }

// ProxyError says that a connection could not be made through a proxy.
type ProxyError struct {
	Proxy string
	Err   error
}

func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *ProxyError) Unwrap() error { return e.Err }

// proxyAddr is where a connection through a proxy leads. Which of a name's addresses that is only
// the proxy knows.
type proxyAddr struct {
	net.Addr // the proxy's

	at Address
}

// dialThrough makes the TCP connection that a is, or is over, through p.
func dialThrough(ctx context.Context, config Config, p *Proxy, a Address) (Link, error) {
	ctx, cancel := context.WithTimeout(ctx, config.sooner())
	defer cancel()
	to, err := seenByProxy(ctx, config, a)
	if err != nil {
		return nil, err
	}
	c, err := netio.DialFrom(ctx, Format(p.at), config.ConnectTimeout, nil, config.From)
	if err != nil {
		return nil, &ProxyError{p.String(), withoutOperation(err)}
	}
	if by, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(by)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = p.ask(c, to)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, &ProxyError{p.String(), withoutOperation(err)}
	}
	_ = c.SetDeadline(time.Time{})
	link, err := ToLink(c)
	if err != nil {
		return nil, err
	}
	if s, ok := link.(*netio.Socket); ok {
		s.LeadsTo(proxyAddr{Addr: c.RemoteAddr(), at: a})
	}
	return link, nil
}

// seenByProxy returns what a proxy is asked for. It looks up names itself, unless somebody has to
// know here where they lead.
func seenByProxy(ctx context.Context, config Config, a Address) (Address, error) {
	to := beneath(a)
	if config.Reach == nil || !a.IsNamed() {
		return to, nil
	}
	all, err := LookUp(ctx, to)
	if err != nil {
		return to, err
	}
	for _, one := range all {
		if err = config.Reach(a, one.IP); err == nil {
			return one, nil
		}
	}
	return to, err
}

// ask has a proxy go on to somewhere.
func (p *Proxy) ask(c net.Conn, to Address) error {
	if p.scheme == "http" {
		return p.connect(c, to)
	}
	return p.socks(c, to)
}

// connect asks for a connection in HTTP: RFC 9110, section 9.3.6.
func (p *Proxy) connect(c net.Conn, to Address) error {
	where := Format(to)
	var b strings.Builder
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\nUser-Agent: sp\r\n", where)
	if p.user != "" || p.password != "" {
		said := base64.StdEncoding.EncodeToString([]byte(p.user + ":" + p.password))
		fmt.Fprintf(&b, "Proxy-Authorization: Basic %s\r\n", said)
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c, b.String()); err != nil {
		return err
	}
	in := bufio.NewReader(&limited{from: c, left: maxHead})
	r, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("it does not answer as a proxy does: %w", unlessTimeout(err))
	}
	switch {
	case r.StatusCode == http.StatusProxyAuthRequired, r.StatusCode == http.StatusUnauthorized:
		return p.wantsPassword(r.Header.Values("Proxy-Authenticate"))
	case r.StatusCode < 200 || r.StatusCode > 299:
		return fmt.Errorf("it refuses to connect to %s: %s", where, Printable(r.Status))
	case in.Buffered() > 0:
		return errors.New("it says something before the other end does")
	}
	return nil
}

func unlessTimeout(err error) error {
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return errors.New("it ends the connection")
	}
	return err
}

// wantsPassword says what to do about a proxy that does not let somebody through, by how it wants
// to be told who he is.
func (p *Proxy) wantsPassword(how []string) error {
	basic := false
	for _, one := range how {
		basic = basic || strings.HasPrefix(strings.ToLower(one), "basic")
	}
	switch {
	case !basic && len(how) > 0:
		return fmt.Errorf("it wants a proof that sp does not know (%s): a program like cntlm or px, "+
			"on this machine, can give it, and be the proxy", Printable(strings.Join(how, ", ")))
	case p.user == "":
		return errors.New("it wants a user and a password")
	}
	return errors.New("it does not take that user and password")
}

// SOCKS 5: RFC 1928, and RFC 1929 for user and password.
const (
	socksVersion   = 5
	socksNone      = 0 // ways to prove who one is
	socksPassword  = 2
	socksNoWay     = 0xff
	socksConnect   = 1
	socksIP4       = 1 // kinds of address
	socksName      = 3
	socksIP6       = 4
	socksUserLimit = 255
)

// socksReplies are what a proxy says, by number.
var socksReplies = []string{
	"", "it has failed", "it does not allow that", "network unreachable", "host unreachable",
	"connection refused", "too slow", "it makes no connections", "it does not know such an address",
}

// socks asks for a connection in SOCKS.
func (p *Proxy) socks(c net.Conn, to Address) error {
	ways := []byte{socksNone}
	if p.user != "" {
		ways = append(ways, socksPassword)
	}
	answer, err := asked(c, append([]byte{socksVersion, byte(len(ways))}, ways...), 2)
	switch {
	case err != nil:
		return err
	case answer[0] != socksVersion:
		return errors.New("it does not speak SOCKS 5")
	case answer[1] == socksNoWay && p.user == "":
		return errors.New("it wants a user and a password, or another proof")
	case answer[1] == socksNoWay:
		return errors.New("it wants a proof that sp does not know")
	case answer[1] == socksPassword && p.user != "":
		err = p.socksProve(c)
	case answer[1] != socksNone:
		err = errors.New("it chooses what was not offered")
	}
	if err != nil {
		return err
	}
	answer, err = asked(c, append([]byte{socksVersion, socksConnect, 0}, socksAddress(to)...), 4)
	switch {
	case err != nil:
		return err
	case answer[0] != socksVersion:
		return errors.New("it does not speak SOCKS 5")
	case answer[1] != 0:
		return fmt.Errorf("it does not connect to %s: %s", Format(to), socksReply(answer[1]))
	}
	return skipSocksAddress(c, answer[3])
}

func socksReply(code byte) string {
	if int(code) < len(socksReplies) {
		return socksReplies[code]
	}
	return "code " + strconv.Itoa(int(code))
}

func (p *Proxy) socksProve(c net.Conn) error {
	if len(p.user) > socksUserLimit || len(p.password) > socksUserLimit {
		return fmt.Errorf("SOCKS has room for a user and a password of %d bytes", socksUserLimit)
	}
	b := append([]byte{1, byte(len(p.user))}, p.user...)
	b = append(append(b, byte(len(p.password))), p.password...)
	answer, err := asked(c, b, 2)
	if err == nil && answer[1] != 0 {
		err = errors.New("it does not take that user and password")
	}
	return err
}

// asked sends b, and returns an answer of so many bytes.
func asked(c net.Conn, b []byte, size int) ([]byte, error) {
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, fmt.Errorf("it does not answer as a proxy does: %w", unlessTimeout(err))
	}
	return answer, nil
}

func socksAddress(to Address) []byte {
	var b []byte
	switch to.Kind {
	case wire.IP4:
		b = append([]byte{socksIP4}, to.IP.AsSlice()...)
	case wire.IP6:
		b = append([]byte{socksIP6}, to.IP.AsSlice()...)
	default:
		b = append([]byte{socksName, byte(len(to.Name))}, to.Name...)
	}
	return append(b, byte(to.Port>>8), byte(to.Port))
}

// skipSocksAddress reads where the proxy connects from, which nobody needs to know.
func skipSocksAddress(c net.Conn, kind byte) error {
	const port = 2
	size := 0
	switch kind {
	case socksIP4:
		size = 4
	case socksIP6:
		size = 16
	case socksName:
		var n [1]byte
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return unlessTimeout(err)
		}
		size = int(n[0])
	default:
		return errors.New("it does not speak SOCKS 5")
	}
	_, err := io.ReadFull(c, make([]byte, size+port))
	return err
}
