package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// largeEcho is how many bytes are sent to and fro to find out whether large packets pass.
const largeEcho = 64 << 10

// within returns a context for one thing that a step waits for.
func (d *doctor) within() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(d.call.ctx, d.timeout, noAnswer(d.timeout))
}

// examineRoute goes the way that an inlet's connection goes.
func (d *doctor) examineRoute(to route.Route) {
	d.ok("route", "%s", route.Format(to))
	if !d.begin() {
		return
	}
	defer d.node.Close()
	if !d.examineEntrance(to[0]) || !d.examineHops(to) {
		d.skip("service", "the way there comes first")
		return
	}
	d.examineService(to)
	d.examineDirect(to)
}

// begin makes the node that walks the route.
func (d *doctor) begin() bool {
	node, err := daemon.OpenNode(d.config, d.options)
	if err != nil {
		d.fail("this side", err)
		return false
	}
	d.node = node
	return true
}

// examineEntrance looks up what a route begins with, and makes a link to it.
func (d *doctor) examineEntrance(a route.Address) bool {
	if p := d.node.ProxyTo(a); p != "" {
		d.skip("name", "the proxy %s looks it up", p)
		return d.examineLink(a, "through the proxy "+p)
	}
	name, _ := a.Host()
	if name == "" {
		return d.examineLink(a, "")
	}
	ctx, cancel := d.within()
	defer cancel()
	began := time.Now()
	all, err := transport.LookUp(ctx, route.Address{Kind: route.KindDNS, Name: name, Port: a.Port})
	if err == nil && len(all) == 0 {
		err = &net.DNSError{Err: "it stands for no address", Name: name, IsNotFound: true}
	}
	if err != nil {
		d.fail("name", &route.DialError{Where: name, Err: err})
		return false
	}
	var texts []string
	for _, at := range all {
		texts = append(texts, transport.Format(at))
	}
	d.ok("name", "%s is %s (%s)", name, strings.Join(texts, ", "), milliseconds(time.Since(began)))
	return d.examineAddresses(all) && (transport.Scheme(a) == "tcp" || d.examineLink(a, ""))
}

// examineAddresses connects to each address that a name stands for. One that answers is enough.
func (d *doctor) examineAddresses(all []route.Address) bool {
	errs := make([]error, len(all))
	took := make([]time.Duration, len(all))
	good := 0
	for i, at := range all {
		began := time.Now()
		errs[i] = d.connect(at)
		if took[i] = time.Since(began); errs[i] == nil {
			good++
		}
	}
	for i, at := range all {
		switch {
		case errs[i] == nil:
			d.ok("address", "%s answers (%s)", transport.Format(at), milliseconds(took[i]))
		case good > 0:
			d.warn("address", errs[i])
		default:
			d.fail("address", errs[i])
		}
	}
	return good > 0
}

// connect makes a link, and ends it.
func (d *doctor) connect(a route.Address) error {
	ctx, cancel := d.within()
	defer cancel()
	link, err := d.node.DialLink(ctx, a)
	if err != nil {
		return err
	}
	return link.Close()
}

// examineLink makes a link as a route does: with TLS and WebSocket where it has them.
func (d *doctor) examineLink(a route.Address, how string) bool {
	began := time.Now()
	if err := d.connect(a); err != nil {
		d.fail(linkStep(a), err)
		return false
	}
	text := strings.TrimSpace(how + " (" + milliseconds(time.Since(began)) + ")")
	d.ok(linkStep(a), "%s answers %s", transport.Format(a), text)
	return true
}

// linkStep is what is looked at where a link is made.
func linkStep(a route.Address) string {
	switch transport.Scheme(a) {
	case "tls":
		return "TLS"
	case "ws", "wss":
		return "WebSocket"
	case "ble":
		return "Bluetooth"
	case "nats", "kafka":
		return "broker"
	case "unix":
		return "socket"
	}
	return "address"
}

// examineHops goes to each node of a route in turn, as far as that goes.
func (d *doctor) examineHops(to route.Route) bool {
	hops := route.Hops(to)
	for i, hop := range hops {
		name := fmt.Sprintf("hop %d", i+1)
		if !d.examineHop(name, to, hop) {
			for j := i + 1; j < len(hops); j++ {
				d.skip(fmt.Sprintf("hop %d", j+1), "%s: hop %d comes first", hops[j].Where, i+1)
			}
			return false
		}
	}
	return true
}

// examineHop asks a node whether it is there, and makes the secure channel with it if the route
// has one.
func (d *doctor) examineHop(name string, to route.Route, hop route.Hop) bool {
	bare := withoutChannel(hop.Route)
	began := time.Now()
	if err := d.probe(bare, d.node.Probe); err != nil {
		d.fail(name, adviseHop(err))
		return false
	}
	d.ok(name, "%s: sp answers (%s)", hop.Where, milliseconds(time.Since(began)))
	if err := d.probe(bare, d.node.ProbeLarge); err != nil {
		d.fail("packets", swallowed(err, "on the way to "+hop.Where))
		return false
	}
	if leadsToName(to[len(hop.Route):]) {
		d.examineSet(bare)
	}
	return len(bare) == len(hop.Route) || d.examineChannel(to, hop)
}

// withoutChannel returns a route to a node without the channel that ends there.
func withoutChannel(to route.Route) route.Route {
	for len(to) > 0 && (to[len(to)-1].Kind == route.KindIs || to[len(to)-1].Kind == route.KindSecure) {
		to = to[:len(to)-1]
	}
	return to
}

// leadsToName tells whether what is left of a route goes on from a relay.
func leadsToName(rest route.Route) bool {
	return len(rest) > 0 && rest[0].Kind == route.KindService &&
		strings.HasPrefix(rest[0].Name, route.ForwardPrefix)
}

func (d *doctor) probe(to route.Route, ask func(context.Context, route.Route) error) error {
	ctx, cancel := d.within()
	defer cancel()
	return ask(ctx, to)
}

// adviseHop adds what a node's own words may mean.
func adviseHop(err error) error {
	status, ok := errors.AsType[*route.StatusError](err)
	switch {
	case ok && strings.HasPrefix(status.Missing(), route.ForwardPrefix):
		return advise(err, "is the outlet running, and with that --name and --relay? Its log, or sp "+
			"status there, says whether it has the name; if somebody else has it, sp doctor --relay … "+
			"--name … there tells who")
	case ok && status.Code == route.CodeBusy:
		return advise(err, "try again in a moment; if it stays, look at sp status on that machine: it "+
			"is at a limit, or the directory by which it finds names of other sets is down, or a relay "+
			"that it asks does not answer")
	}
	return err
}

// swallowed says that small packets have passed, and large ones have not.
func swallowed(err error, where string) error {
	return advise(fmt.Errorf("small packets pass and large ones do not, %s: %w", where, err),
		"somebody there swallows large packets, and the word that they are too large (ICMP): lower "+
			"the MTU of this machine's interface (ip link set dev … mtu 1280), or have the firewall let "+
			"ICMP pass, or clamp the MSS")
}

// examineChannel makes the secure channel with a node, which says who that is, and whether each of
// the two trusts the other.
func (d *doctor) examineChannel(to route.Route, hop route.Hop) bool {
	ctx, cancel := d.within()
	defer cancel()
	echo := append(slices.Clone(hop.Route),
		route.Address{Kind: route.KindService, Name: route.EchoName})
	asked := echo
	if len(to) > len(hop.Route) {
		asked = to[:len(hop.Route)+1] // it says what the node is taken for
	}
	s, err := d.node.Session(ctx, asked)
	if err != nil {
		d.fail("identity", d.adviseChannel(err))
		return false
	}
	took, err := s.Ping(ctx)
	if err != nil {
		d.fail("channel", err)
		return false
	}
	d.ok("identity", "it is %s, trusted here (%s), and trusts this side", s.Peer().Identifier(),
		s.Decision().Anchor)
	d.ok("channel", "the round trip takes %s", milliseconds(took))
	if until := s.Decision().Until; !until.IsZero() {
		d.ok("trust", "it ends at %s, with the credential", until.UTC().Format(time.RFC3339))
	}
	return d.examineLarge(echo)
}

// adviseChannel adds what there is to think of where a channel could not be made.
func (d *doctor) adviseChannel(err error) error {
	text := hintFor(err)
	e, refused := errors.AsType[*channel.RefusedError](err)
	switch {
	case refused && e.Peer == e.Self:
		return advise(err, "the way is good, and this is the outlet's own identity, which it does not "+
			"let in, since it was started with --allow and others: ask with an identity that it allows "+
			"(--identity), or allow this one as well")
	case errors.Is(err, channel.ErrRefusedByPeer):
		text += "; or a clock is wrong, if this side presents credentials: compare both sides' (date)"
		return advise(err, "%s", text)
	case errors.Is(err, trust.ErrNotTrusted) && len(d.config.Trust.Authorities) > 0:
		return advise(err, "%s; or have its credential renewed, or set this machine's clock", text)
	}
	return err
}

// examineLarge sends much through a channel and waits for it to come back, if the node does that.
func (d *doctor) examineLarge(echo route.Route) bool {
	ctx, cancel := d.within()
	defer cancel()
	sent := make([]byte, largeEcho)
	_, _ = rand.Read(sent)
	got, err := d.exchange(ctx, echo, sent)
	status, refused := errors.AsType[*route.StatusError](err)
	switch {
	case refused && status.Missing() == route.EchoName, errors.Is(err, trust.ErrNotTrusted):
		return true // it is no node of whom that may be asked
	case err != nil:
		d.fail("packets", swallowed(err, "on the way there or back"))
		return false
	case string(got) != string(sent):
		d.fail("packets", errors.New("what came back is not what was sent"))
		return false
	}
	d.ok("packets", "large ones pass, both ways")
	return true
}

// exchange says something to a service, and returns what that says until it ends.
func (d *doctor) exchange(ctx context.Context, to route.Route, say []byte) ([]byte, error) {
	s, err := d.node.OpenAndAwait(ctx, to, 0, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })()
	written := make(chan error, 1)
	go func() {
		_, err := s.Write(say)
		written <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(io.LimitReader(s, int64(len(say))+1))
	if err != nil {
		_ = s.Close() // ends the other one
	}
	if sending := <-written; err == nil {
		err = sending
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return got, err
}

// examineService asks whether the outlet is there, and has it connect to its service.
func (d *doctor) examineService(to route.Route) {
	began := time.Now()
	if err := d.probe(to, d.node.Probe); err != nil {
		d.fail("outlet", err)
		return
	}
	d.ok("outlet", "it is there (%s)", milliseconds(time.Since(began)))
	if d.call.yes("no-service") {
		d.skip("service", "--no-service")
		return
	}
	ctx, cancel := d.within()
	defer cancel()
	began = time.Now()
	s, err := d.node.OpenAndAwait(ctx, to, 0, nil)
	if err != nil {
		d.fail("service", adviseService(err))
		return
	}
	_ = s.CloseWrite()
	_ = s.Close()
	d.ok("service", "the outlet has connected to it (%s)", milliseconds(time.Since(began)))
}

// examineDirect says whether connections would go past the relay that is on the way, if one is.
// That they do not keeps nothing from working.
func (d *doctor) examineDirect(to route.Route) {
	ctx, cancel := d.within()
	defer cancel()
	state, err := d.node.TryDirect(ctx, to)
	if err == nil && !state.At.IsValid() {
		err = state.Err
	}
	switch {
	case errors.Is(err, route.ErrNoRelay):
	case err == nil:
		d.ok("direct", "connections go to %s, past the relay (%s)", state.At, milliseconds(state.Took))
	case ctx.Err() != nil:
		d.skip("direct", "connections stay on the relay: %v", context.Cause(ctx))
	default:
		d.skip("direct", "connections stay on the relay: %v", err)
	}
}

func adviseService(err error) error {
	status, ok := errors.AsType[*route.StatusError](err)
	if !ok || status.Hearsay {
		return err
	}
	switch status.Code {
	case route.CodeRefused:
		return advise(err, "on the outlet's machine: is the service running, and is its port that of "+
			"--target? The outlet's log has the address")
	case route.CodeUnreachable:
		return advise(err, "on the outlet's machine: is --target the address of the service, and can "+
			"that machine reach it? The outlet's log says why not")
	}
	return err
}
