package natsconn

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/secureportal/sp/internal/brokers"
)

// errNoTLS says that a broker does not speak TLS where it has to.
var errNoTLS = errors.New("it does not speak TLS, and nothing is shown to it without: " +
	"the file of brokers says tls for it, or a password or token, which are shown to no other " +
	"machine in clear unless tls no is said as well")

// info is what counts of what a server says first.
type info struct {
	TLSRequired  bool `json:"tls_required"`
	TLSAvailable bool `json:"tls_available"`
}

// open has the first words with a server, TLS included, and returns the connection as a client's
// library is to see it: without TLS, guarded, and beginning with what the server has said first. It
// closes c if it fails.
func open(ctx context.Context, c net.Conn, host string, login brokers.Login) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	opened, err := greet(ctx, c, host, login)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return opened, nil
}

func greet(ctx context.Context, c net.Conn, host string, login brokers.Login) (net.Conn, error) {
	if login.TLSFirst {
		over, err := overTLS(ctx, c, host, login)
		if err != nil {
			return nil, err
		}
		said, err := firstLine(over)
		if err != nil {
			return nil, err
		}
		_, ahead, err := parseInfo(said)
		return &guard{Conn: over, ahead: ahead}, err
	}
	said, err := firstLine(c)
	if err != nil {
		return nil, err
	}
	i, ahead, err := parseInfo(said)
	if err != nil {
		return nil, err
	}
	needs := login.NeedsTLS(host) // whatever it says: that is in clear, and may be somebody else's
	switch {
	case i.TLSRequired, needs && i.TLSAvailable:
		if c, err = overTLS(ctx, c, host, login); err != nil {
			return nil, err
		}
	case needs:
		return nil, errNoTLS
	}
	return &guard{Conn: c, ahead: ahead}, nil
}

func overTLS(ctx context.Context, c net.Conn, host string, login brokers.Login) (net.Conn, error) {
	over := tls.Client(c, login.TLSConfig(host))
	if err := over.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return over, nil
}

// firstLine reads what a server says first, and no byte more: what follows may be TLS.
func firstLine(c net.Conn) ([]byte, error) {
	line := make([]byte, 0, maxLine)
	var one [1]byte
	for len(line) < maxInfo {
		n, err := c.Read(one[:])
		if n > 0 {
			line = append(line, one[0])
			if one[0] == '\n' {
				return line, nil
			}
			if len(line) == len(infoWord) && string(line) != infoWord {
				return nil, errForeign
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errForeign
}

const infoWord = "INFO "

// parseInfo reads the line that a server begins with, and returns it without what the library is
// not to act upon: TLS, which there is by then, and other servers' addresses, which nobody who runs
// this node has written.
func parseInfo(line []byte) (i info, plain []byte, err error) {
	if len(line) < len(infoWord) || string(line[:len(infoWord)]) != infoWord {
		return i, nil, errForeign
	}
	text := line[len(infoWord):]
	all := make(map[string]json.RawMessage)
	if json.Unmarshal(text, &all) != nil || json.Unmarshal(text, &i) != nil {
		return i, nil, errForeign
	}
	for _, word := range []string{"tls_required", "tls_available", "connect_urls", "ws_connect_urls"} {
		delete(all, word)
	}
	plain, err = json.Marshal(all)
	if err != nil {
		return i, nil, errForeign
	}
	plain = append(append([]byte(infoWord), plain...), "\r\n"...)
	return i, plain, nil
}
