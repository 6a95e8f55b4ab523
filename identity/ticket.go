package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A ticket on the wire, all numbers big-endian:
//
//	version (1) = 1 | serial (16) | expires (8) | length (2) route
//	issuer's history | signature (64)
//
// The route is printable ASCII without spaces. The signature is by the current key of
// the history inside, over contextTicket and everything before the signature.

// ticketPrefix begins the text form; unpadded base64url of the bytes follows.
const ticketPrefix = "sp-ticket-1:"

// ErrSpent says that a ticket has been redeemed before.
var ErrSpent = errors.New("already redeemed")

// Ticket lets whoever shows it first in: the node that issued it puts that one's
// Identifier into its allow file, and the ticket is worth nothing from then on. It says
// where the issuer is and who it is, so that the bearer needs to know nothing else.
// Until it is redeemed or has expired it is a secret. It holds no key. A Ticket never
// changes and is safe for concurrent use.
//
// It has been decoded and not verified: until [Ticket.VerifySignature] has passed, its
// methods return what somebody claims. The bearer takes them on the word of whoever
// gave it the ticket; the issuer checks when it is redeemed.
type Ticket struct {
	raw     []byte
	serial  [serialSize]byte
	expires uint64
	route   string
	issuer  *History // not verified
}

// Ticket signs a ticket for whoever is given it: route leads from there to a node that
// has this identity. random gives the serial number, 16 bytes; nil means crypto/rand.
func (id *Identity) Ticket(random io.Reader, route string, expires time.Time) (*Ticket, error) {
	var serial [serialSize]byte
	if _, err := io.ReadFull(orRandom(random), serial[:]); err != nil {
		return nil, fmt.Errorf("ticket: no random bytes: %w", err)
	}
	until, err := seconds(expires)
	if err != nil {
		return nil, fmt.Errorf("ticket: expiry: %w", err)
	}
	if err := checkTicketRoute(route); err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	b := append([]byte{ticketVersion}, serial[:]...)
	b = binary.BigEndian.AppendUint64(b, until)
	b = binary.BigEndian.AppendUint16(b, uint16(len(route)))
	b = append(b, route...)
	b = append(b, id.history.raw...)
	return ParseTicket(append(b, sign(id.key(), contextTicket, b)...))
}

// ParseTicket decodes a ticket's bytes. It verifies no signature.
func ParseTicket(b []byte) (*Ticket, error) {
	if len(b) > MaxTicket {
		return nil, fmt.Errorf("ticket has %d bytes, at most %d are allowed", len(b), MaxTicket)
	}
	t := &Ticket{raw: bytes.Clone(b)}
	r := &reader{b: t.raw}
	t.decode(r)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	return t, nil
}

func (t *Ticket) decode(r *reader) {
	r.expect(ticketVersion, "version")
	copy(t.serial[:], r.take(serialSize))
	t.expires = r.seconds("expiry")
	n := r.uint16()
	if n > MaxTicketRoute {
		r.fail("the route has %d bytes, at most %d are allowed", n, MaxTicketRoute)
	}
	t.route = string(r.take(n))
	if r.err == nil {
		r.err = checkTicketRoute(t.route)
	}
	if r.err != nil {
		return
	}
	t.issuer = decodeHistory(r)
	if r.err != nil {
		r.err = fmt.Errorf("issuer's history: %w", r.err)
	}
	r.take(signatureSize)
}

func checkTicketRoute(route string) error {
	if len(route) < 1 || len(route) > MaxTicketRoute {
		return fmt.Errorf("the route has %d bytes, want 1 to %d", len(route), MaxTicketRoute)
	}
	for i := range len(route) {
		if c := route[i]; c <= ' ' || c > '~' {
			return errors.New("the route is not printable ASCII without spaces")
		}
	}
	return nil
}

// ParseTicketText reads the text form, which [Ticket.String] writes. White space around
// it is ignored. Its errors quote nothing from the text.
func ParseTicketText(s string) (*Ticket, error) {
	s = strings.TrimSpace(s)
	if len(s) > len(ticketPrefix)+base64.RawURLEncoding.EncodedLen(MaxTicket) {
		return nil, fmt.Errorf("ticket has %d characters, more than the longest can have", len(s))
	}
	body, ok := strings.CutPrefix(s, ticketPrefix)
	if !ok {
		return nil, fmt.Errorf("ticket does not begin with %q", ticketPrefix)
	}
	if strings.ContainsAny(body, "\r\n") {
		return nil, errors.New("ticket is broken into several lines: it is one word")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	return ParseTicket(b)
}

// VerifySignature checks that the issuer which the ticket names signed it, whoever that
// is and whatever the time: what to do before showing one.
func (t *Ticket) VerifySignature() error {
	if !t.signed() {
		return errors.New("ticket: not signed by its issuer")
	}
	if err := t.issuer.verify(); err != nil {
		return fmt.Errorf("ticket: issuer's history: %w", err)
	}
	return nil
}

func (t *Ticket) signed() bool {
	said, signature := t.raw[:len(t.raw)-signatureSize], t.raw[len(t.raw)-signatureSize:]
	return verify(t.issuer.current(), signature, contextTicket, said)
}

// verify checks a ticket that comes back to the node that has the history own. A ticket
// signed with a key that own has given up since may be a thief's, and is refused.
func (t *Ticket) verify(own *History, now time.Time) error {
	if t.Issuer() != own.Identifier() {
		return fmt.Errorf("issued by %s, not by this node", t.Issuer())
	}
	if !bytes.Equal(t.issuer.current(), own.current()) {
		return errors.New("not signed with this node's current key")
	}
	if !now.Before(t.Expires()) {
		return fmt.Errorf("%w at %s", ErrExpired, t.Expires().Format(time.RFC3339))
	}
	if !t.signed() {
		return errors.New("not signed by its issuer")
	}
	return nil
}

// Issuer returns the Identifier of the node that the ticket leads to.
func (t *Ticket) Issuer() Identifier { return t.issuer.Identifier() }

// Route returns where that node is.
func (t *Ticket) Route() string { return t.route }

// Expires returns the second from which on it is no longer redeemed.
func (t *Ticket) Expires() time.Time { return unix(t.expires) }

// Serial returns the serial number: random, and of no meaning.
func (t *Ticket) Serial() [16]byte { return t.serial }

// Bytes returns a copy of the encoding, as [Identity.ProveWith] takes it.
func (t *Ticket) Bytes() []byte { return bytes.Clone(t.raw) }

// String returns the text form: one word, safe in URLs and shells.
func (t *Ticket) String() string { return ticketPrefix + base64.RawURLEncoding.EncodeToString(t.raw) }

// MarshalJSON returns the contents for people and scripts to read. There is no way back.
func (t *Ticket) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Serial  string     `json:"serial"`
		Issuer  Identifier `json:"issuer"`
		Route   string     `json:"route"`
		Expires time.Time  `json:"expires"`
	}{hex.EncodeToString(t.serial[:]), t.Issuer(), t.route, t.Expires()})
}
