package transport

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/secureportal/sp/internal/handed"
	"github.com/secureportal/sp/wire"
)

// Where to listen may be a socket that another program has made and handed to this process:
//
//	fd:N            descriptor N
//	systemd:NAME    all that systemd hands under a name, as FileDescriptorName= of its socket unit
//
// These are TCP or Unix sockets, whatever stands in the address, and are listened at and no more:
// elsewhere fd:7000 is a port of the host fd. See package handed.
const (
	fdPrefix      = "fd:"
	systemdPrefix = "systemd:"
)

// IsHanded tells whether an address to listen at is a socket that was handed to this process.
func IsHanded(a Address) bool {
	scheme := Scheme(a) + ":"
	return a.Kind == wire.Local && (scheme == fdPrefix || scheme == systemdPrefix)
}

// parseHanded reads fd:N and systemd:NAME. It reports false if text is of another form.
func parseHanded(text string) (a Address, ok bool, err error) {
	a = Address{Kind: wire.Local, Name: text}
	if n, is := strings.CutPrefix(text, fdPrefix); is {
		if d, err := strconv.ParseUint(n, 10, 16); err != nil || d < handed.First {
			return a, true, fmt.Errorf("%s: a descriptor that was handed to this process is a number from "+
				"%d on", Printable(text), handed.First)
		}
		return a, true, nil
	}
	name, ok := strings.CutPrefix(text, systemdPrefix)
	unfit := func(r rune) bool { return r == ':' || r == '/' || !strconv.IsPrint(r) }
	if ok && (name == "" || len(name) > handed.MaxName || strings.ContainsFunc(name, unfit)) {
		err = fmt.Errorf("%s: what stands behind it is what systemd calls the socket: "+
			"FileDescriptorName= of its unit, or the unit's own name", Printable(text))
	}
	return a, ok, err
}

// CheckHanded tells why nobody can listen at a, which IsHanded, or returns nil.
func CheckHanded(a Address) (err error) {
	if n, is := strings.CutPrefix(a.Name, fdPrefix); is {
		d, _ := strconv.Atoi(n)
		err = handed.CheckNumber(d)
	} else {
		err = handed.CheckNamed(Rest(a))
	}
	if err != nil {
		return CannotListen(a, err)
	}
	return nil
}

// listenHanded listens at what was handed, as c says of sockets.
func listenHanded(c *net.ListenConfig, a Address) (base, error) {
	var all []net.Listener
	var err error
	if n, is := strings.CutPrefix(a.Name, fdPrefix); is {
		d, _ := strconv.Atoi(n)
		var one net.Listener
		one, err = handed.Number(d, a.Name)
		all = append(all, one)
	} else {
		all, err = handed.Named(Rest(a), a.Name)
	}
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if err == nil {
			err = handed.Configure(l, c)
		}
	}
	if err != nil {
		for _, l := range all {
			_ = l.Close()
		}
		return nil, err
	}
	if len(all) == 1 {
		return all[0].(base), nil
	}
	return newSeveral(all...), nil
}
