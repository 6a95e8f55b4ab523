package identity

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A ticket on the wire, all numbers big-endian:
//
//	version (1) = 1 | serial (16) | expires (8) | length (2) route
//	issuer's history | signature (64)
//
// The route is printable ASCII without spaces. The signature is by the current key of
// the history inside, over contextTicket and everything before the signature.

var ticketObject = signedObject{
	name: "ticket", signer: "issuer", version: ticketVersion, max: MaxTicket,
	context: contextTicket, prefix: "sp-ticket-1:",
}

// Ticket lets in whoever presents it first: the node that issued it puts the bearer's
// Identifier into its allow file, and from then on the ticket is worth nothing. It says
// where the issuer is and who it is, so the bearer needs to know nothing else. Until it
// is redeemed or has expired it is a secret. It holds no key. A Ticket never changes and
// is safe for concurrent use.
//
// It has been decoded and not verified: until [Ticket.VerifySignature] or [Ticket.Verify]
// has passed, its methods return what somebody claims. The bearer believes whoever gave it
// the ticket; the issuer verifies the ticket when it comes back.
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
	b, err := ticketObject.begin(random)
	if err != nil {
		return nil, err
	}
	until, err := seconds(expires)
	if err != nil {
		return nil, fmt.Errorf("ticket: expiry: %w", err)
	}
	if err := checkTicketRoute(route); err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	b = binary.BigEndian.AppendUint64(b, until)
	b = binary.BigEndian.AppendUint16(b, uint16(len(route)))
	b = append(b, route...)
	return ParseTicket(ticketObject.end(b, id))
}

// ParseTicket decodes a ticket's bytes. It verifies no signature.
func ParseTicket(b []byte) (*Ticket, error) {
	t := new(Ticket)
	var err error
	if t.raw, err = ticketObject.decode(b, t.decode); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Ticket) decode(d *decoder) {
	t.serial = ticketObject.readBegin(d)
	t.expires = d.seconds("expiry")
	n := d.uint16()
	if n > MaxTicketRoute {
		d.fail("the route has %d bytes, at most %d are allowed", n, MaxTicketRoute)
	}
	t.route = string(d.take(n))
	if d.err == nil {
		d.err = checkTicketRoute(t.route)
	}
	t.issuer = ticketObject.readEnd(d)
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
	b, err := ticketObject.parseText(s)
	if err != nil {
		return nil, err
	}
	return ParseTicket(b)
}

// VerifySignature checks that the ticket was signed by the issuer that it names, whoever
// that is and whatever the time. Do so before you present one.
func (t *Ticket) VerifySignature() error {
	if err := ticketObject.verify(t.raw, t.issuer); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	return nil
}

// Verify is for the node that a ticket comes back to, which has the history own. It checks
// that this node issued the ticket, with the key that is current now, and that it is valid
// at now. A ticket signed with an earlier key may be a thief's, and is refused. Verify
// cannot know whether the ticket has been redeemed before.
func (t *Ticket) Verify(own *History, now time.Time) error {
	if t.Issuer() != own.Identifier() {
		return fmt.Errorf("issued by %s, not by this node", t.Issuer())
	}
	if !bytes.Equal(t.issuer.current(), own.current()) {
		return errors.New("not signed with this node's current key")
	}
	if !now.Before(t.Expires()) {
		return fmt.Errorf("%w at %s", ErrExpired, t.Expires().Format(time.RFC3339))
	}
	if !ticketObject.signed(t.raw, t.issuer) {
		return ticketObject.notSigned()
	}
	return nil
}

// Issuer returns the Identifier of the node that the ticket leads to.
func (t *Ticket) Issuer() Identifier { return t.issuer.Identifier() }

// Route returns where that node is.
func (t *Ticket) Route() string { return t.route }

// Expires returns the second from which on it is no longer redeemed.
func (t *Ticket) Expires() time.Time { return unix(t.expires) }

// Serial returns the serial number, which is random.
func (t *Ticket) Serial() [16]byte { return t.serial }

// Bytes returns a copy of the encoding, as [Identity.Prove] takes it.
func (t *Ticket) Bytes() []byte { return bytes.Clone(t.raw) }

// String returns the text form: one word, safe in URLs and shells.
func (t *Ticket) String() string { return ticketObject.text(t.raw) }

// MarshalJSON returns the contents for people and scripts to read. It is not read back.
func (t *Ticket) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Serial  string     `json:"serial"`
		Issuer  Identifier `json:"issuer"`
		Route   string     `json:"route"`
		Expires time.Time  `json:"expires"`
	}{hex.EncodeToString(t.serial[:]), t.Issuer(), t.route, t.Expires()})
}
