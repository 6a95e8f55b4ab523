// What services and their askers have said in a recording.

package docs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"testing"

	"github.com/secureportal/sp/wire"
)

// services reads what is in the flows. The flows are in the order in which they were opened.
func (r *reading) services() {
	var apps []*recordedLink
	for _, l := range r.Links {
		if l.Plain != "" {
			apps = append(apps, l)
		}
	}
	for _, f := range r.flows {
		asked, answered := f.data[f.initiator], f.data[other(f.initiator)]
		if len(asked) == 0 {
			continue // it asks for nothing
		}
		m, asked := r.message(asked, 0)
		status, answered := r.status(answered, 0)
		if status.Hop != 1 {
			r.Errorf("a status of hop %d in a flow", status.Hop)
		}
		if status.Code != wire.OK || m.Flags&wire.Probe != 0 {
			continue
		}
		switch m.Onward[0].Name {
		case "outlet":
			if len(apps) == 0 {
				r.Fatal("more flows than applications")
			}
			r.outlet(f, m, apps[0], asked, answered)
			apps = apps[1:]
		case "register":
			r.register(f, m, asked, answered)
		default:
			r.Errorf("the service %s", m.Onward[0].Name)
		}
	}
	if len(apps) > 0 {
		r.Errorf("%d applications without a flow", len(apps))
	}
}

// outlet compares what is said in a flow with what the application said and heard.
func (r *reading) outlet(f *readFlow, m wire.Message, app *recordedLink, asked, answered []byte) {
	r.Helper()
	from, to := r.origin(m.Payload)
	said := app.bytes()
	heard := said[bySP]
	if app.Plain == "client" {
		asked, answered = answered, asked
	} else if bytes.HasPrefix(heard, []byte(proxySignature)) {
		heard = r.proxied(f, from, to, heard)
	}
	if !bytes.Equal(heard, asked) {
		r.Errorf("the %s hears %q, and the flow says %q", app.Plain, heard, asked)
	}
	if !bytes.Equal(said[bySecond], answered) {
		r.Errorf("the %s says %q, and the flow %q", app.Plain, said[bySecond], answered)
	}
}

// origin reads which connection an inlet says it carries, if it does.
func (r *reading) origin(payload []byte) (from, to netip.AddrPort) {
	r.Helper()
	if len(payload) == 0 {
		return from, to
	}
	said, err := wire.ParseOrigin(payload)
	check(r.T, err)
	again, err := wire.AppendOrigin(nil, said)
	if err != nil || !bytes.Equal(again, payload) {
		r.Errorf("the origin %v is encoded as %x, %v, want %x", said, again, err, payload)
	}
	return said.From, said.To
}

const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// proxied reads a header of the PROXY protocol, and returns what follows it.
func (r *reading) proxied(f *readFlow, from, to netip.AddrPort, b []byte) []byte {
	r.Helper()
	end := 16 + int(binary.BigEndian.Uint16(b[14:]))
	want := []byte(proxySignature)
	switch {
	case !from.IsValid():
		want = append(want, 0x20, 0x00)
	case from.Addr().Is4():
		want = append(want, 0x21, 0x11)
	default:
		want = append(want, 0x21, 0x21)
	}
	want = append(want, b[14:16]...)
	if from.IsValid() {
		want = append(append(want, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		want = binary.BigEndian.AppendUint16(want, from.Port())
		want = binary.BigEndian.AppendUint16(want, to.Port())
	}
	want = append(append(want, 0xe0), frame([]byte(f.who.String()))...)
	want = append(append(want, 0xe1), frame([]byte("allow"))...)
	if !bytes.Equal(b[:end], want) {
		r.Errorf("the header of the PROXY protocol is %q, want %q", b[:end], want)
	}
	return b[end:]
}

// register reads a claim, its ticket, and the mux behind it, in which there are other links.
func (r *reading) register(f *readFlow, m wire.Message, asked, answered []byte) {
	r.Helper()
	if len(m.Payload) < 10 || m.Payload[0] > 7 || string(m.Payload[9:]) != "db" {
		r.Errorf("the claim %x", m.Payload)
	}
	ticket := answered[:48]
	said := map[string]map[uint32][]byte{
		f.initiator:        streams(r.T, asked),
		other(f.initiator): streams(r.T, answered[48:]),
	}
	count := 0
	for i, l := range r.Links {
		if l.Mux != nil && *l.Mux == f.link {
			count++
			for by, b := range l.bytes() {
				if got := said[by][l.Stream]; !bytes.HasPrefix(got, b) {
					r.Errorf("link %d: stream %d says %x, want %x", i, l.Stream, got, b)
				}
			}
		}
	}
	if count < len(said[f.initiator]) {
		r.Errorf("the mux has %d streams, and %d links are recorded", len(said[f.initiator]), count)
	}
	r.spares(ticket)
}

// spares reads the payloads of the spare links that a ticket is for.
func (r *reading) spares(ticket []byte) {
	r.Helper()
	for _, l := range r.Links {
		if len(l.Pieces) == 0 || l.Pieces[0].Kind != isMessage {
			continue
		}
		m, _ := r.message(l.Pieces[0].Bytes, 0)
		if m.Onward[0].Name != "spare" || !bytes.HasPrefix(m.Payload, ticket[:16]) {
			continue
		}
		good := true // unless it is refused
		if len(l.Pieces) > 1 && l.Pieces[1].Kind == isStatus {
			status, _ := r.status(l.Pieces[1].Bytes, 0)
			good = status.Code == wire.OK
		}
		number := binary.BigEndian.Uint64(m.Payload[16:])
		if good != bytes.Equal(m.Payload, sparePayload(ticket, number)) {
			r.Errorf("the payload %x of a spare link, want a good one: %v", m.Payload, good)
		}
	}
}

// streams takes what one side says in a mux apart, by the numbers of the streams. The last frame
// may be cut short.
func streams(t *testing.T, b []byte) map[uint32][]byte {
	t.Helper()
	all := make(map[uint32][]byte)
	for len(b) >= 12 {
		kind, stream := b[1], binary.BigEndian.Uint32(b[4:])
		size := int(binary.BigEndian.Uint32(b[8:]))
		if b[0] != 0 || kind > 3 {
			t.Fatalf("the mux's frame begins with %x", b[:2])
		}
		b = b[12:]
		if kind == 0 { // data
			size = min(size, len(b))
			all[stream] = append(all[stream], b[:size]...)
			b = b[size:]
		}
	}
	return all
}

// forwards makes sure that what a relay or bridge of sp's has sent on is what it got, but for the
// first address and the label, and so is what follows in both directions.
func (r *reading) forwards() {
	came := make(map[string]asked)
	for a := range r.asked(bySecond) {
		if m := a.message; len(m.Onward) > 0 {
			came[fmt.Sprint(m.Flags, m.Onward[1:], m.Return, m.Payload)] = a
		}
	}
	for a := range r.asked(bySP) {
		m := a.message
		if len(m.Return) < 2 {
			continue
		}
		before, ok := came[fmt.Sprint(m.Flags, m.Onward, m.Return[1:], m.Payload)]
		if !ok || !bytes.Equal(before.said[bySecond], a.said[bySP]) ||
			!bytes.Equal(before.said[bySP], a.said[bySecond]) {
			r.Errorf("%v was forwarded with %q, and came with %q", m, a.said, before.said)
		}
	}
}

// asked is an opening message outside of a channel.
type asked struct {
	message wire.Message
	said    map[string][]byte // behind it, by both sides
}

// asked yields the opening messages that a side has sent.
func (r *reading) asked(by string) iter.Seq[asked] {
	return func(yield func(asked) bool) {
		for _, l := range r.Links {
			for i, p := range l.Pieces {
				if p.By != by || p.Kind != isMessage {
					continue
				}
				m, _ := r.message(p.Bytes, 0)
				rest := &recordedLink{Pieces: l.Pieces[i+1:]}
				if !yield(asked{m, rest.bytes()}) {
					return
				}
			}
		}
	}
}
