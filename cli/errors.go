package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
)

// Exit codes, also in the help and in docs/guide.md.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotTrusted  = 4
	exitRefused     = 5

	// exitReaderGone is what shells make of a command that SIGPIPE has ended.
	exitReaderGone = 141

	// Those of a command that sp run cannot run are what shells and env say, too.
	exitNotExecutable = 126
	exitNoCommand     = 127
	exitSignal        = 128 // and the number of the signal that has ended it
)

const exitCodesHelp = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 far end not reachable, " +
	"4 not trusted,\n5 target refused the connection. What is said outside of a secure channel, " +
	"such as by a relay,\nis 3, for anybody on the way may have said it."

// errInvalid marks an error about a credential or a ticket that is not to be believed.
var errInvalid = errors.New("not valid")

func invalid(err error) error { return fmt.Errorf("%w: %w", errInvalid, err) }

// hinted is an error together with what to do about it.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// report prints err, if there is one, and returns the exit code for it.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if isReaderGone(err) {
		return exitReaderGone
	}
	if ended, ok := errors.AsType[*commandEnd](err); ok && ended.err == nil {
		return ended.code
	}
	if file := (*fileError)(nil); errors.As(err, &file) {
		file.report(stderr)
		return exitCode(err)
	}
	for _, line := range linesOf(err) {
		fmt.Fprintf(stderr, "sp: %s\n", line)
	}
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(stderr, "sp: hint: %s\n", oneLine(hint))
	}
	return exitCode(err)
}

// linesOf is the text of an error: a line for each of several that have been joined, but for those
// that say the same as one before.
func linesOf(err error) (all []string) {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{oneLine(err.Error())}
	}
	var texts []string
	for _, one := range several.Unwrap() {
		texts = append(texts, one.Error())
		for _, line := range linesOf(one) {
			if !slices.Contains(all, line) {
				all = append(all, line)
			}
		}
	}
	if strings.Join(texts, "\n") != err.Error() { // they are parts of one sentence
		return []string{oneLine(err.Error())}
	}
	return all
}

// oneLine returns text as one line. Spaces stay as they are: they may be part of a name.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' }), " ")
}

func exitCode(err error) int {
	var status *route.StatusError
	var dial *route.DialError
	var foreign *route.ForeignError
	var problem *daemon.Error
	var output *outputError
	var command *commandEnd
	switch {
	case errors.As(err, &output):
		return exitFailed
	case errors.As(err, &command):
		return command.code
	case errors.Is(err, errUsage), errors.Is(err, route.ErrSyntax),
		errors.Is(err, route.ErrNotDialable), errors.Is(err, route.ErrTooFar),
		errors.Is(err, route.ErrLoop), errors.Is(err, route.ErrExpect),
		errors.Is(err, portal.ErrNoChannel):
		return exitUsage
	case errors.Is(err, trust.ErrNotTrusted), errors.Is(err, errInvalid),
		errors.Is(err, channel.ErrWrongName),
		errors.As(err, &problem) && problem.Problem == daemon.NotBelieved:
		return exitNotTrusted
	case errors.As(err, &status):
		return statusExitCode(status)
	case errors.As(err, &dial), errors.As(err, &foreign), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, channel.ErrCut),
		errors.Is(err, channel.ErrMissedPongs), errors.Is(err, route.ErrNoAnswer), isTimeout(err),
		errors.Is(err, errNoBench), errors.Is(err, errNobodyMet):
		return exitUnreachable
	}
	return exitFailed
}

// statusExitCode makes nothing but "not reachable" of what anybody on the way may have said.
func statusExitCode(status *route.StatusError) int {
	if status.Hearsay {
		return exitUnreachable
	}
	switch status.Code {
	case route.CodeNotTrusted, route.CodeNameTaken, route.CodeNotAllowed:
		return exitNotTrusted
	case route.CodeRefused:
		return exitRefused
	}
	return exitUnreachable
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// hintFor returns what to do about err, where that can be said.
func hintFor(err error) string {
	var h *hinted
	var u *usageError
	var d *daemon.Error
	var listen *transport.ListenError
	var foreign *route.ForeignError
	var status *route.StatusError
	var dial *route.DialError
	var step *stepError
	switch {
	case errors.As(err, &step): // it has been said
		return ""
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &d) && problemHint(d) != "":
		return problemHint(d)
	case errors.Is(err, identity.ErrIdentifier):
		return "an Identifier is I and 64 digits from 0 to 9 and a to f, as sp identity show prints it"
	case errors.Is(err, route.ErrSyntax):
		return "a route is host:port, unix:PATH, name@relay:port, some of these with / between, " +
			"or like /dnsaddr/host/tcp/7000/secure/api/service/outlet"
	case errors.As(err, &u):
		return usageHint(u)
	case errors.Is(err, route.ErrByName):
		return "ask for it by its name, NAME@host:port, as the line that it has printed does"
	case errors.Is(err, trust.ErrNameless):
		return "ask for the outlet by its name, NAME@host:port; or name its Identifier with --allow"
	case errors.Is(err, trust.ErrOlderHistory), errors.Is(err, channel.ErrGivenUp):
		return "sp identity rotate was run on another copy of that key file: " +
			"copy the new file to every machine that has the old one"
	case errors.Is(err, channel.ErrLeft):
		return "if it is to be reached, introduce the two sides with sp pair, or start the far end " +
			"with --allow and that Identifier, or with the same key file, as it is since the last sp " +
			"identity rotate; its log says why it left"
	case errors.Is(err, channel.ErrUnexpected):
		return "the route names another Identifier (#I… or /is/I…): is this the one you mean?"
	case errors.Is(err, trust.ErrNoTickets):
		return "to redeem tickets, start this side with --allow-file FILE, which may be empty"
	case errors.Is(err, channel.ErrRefusedByPeer):
		return "introduce the two sides to each other with sp pair, or start the far end with --allow " +
			"and this side's Identifier, which sp identity show [FILE] prints; its log says why it " +
			"refuses; if the key was rotated on another machine, copy the new key file here"
	case errors.Is(err, trust.ErrNotTrusted):
		return "introduce the two sides to each other with sp pair; or name the far end's Identifier " +
			"with --allow, if it is the one you mean"
	case errors.As(err, &dial):
		return dialHint(dial)
	case errors.As(err, &foreign), errors.Is(err, route.ErrMalformed):
		return "what listens there may be no sp, or of another version: " + foreignHint
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "what listens there may be no sp, or be stopped: " + foreignHint
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the log of the far end says why: it may be no sp, accept only another --suite, " +
			"or be at a limit"
	case errors.As(err, &listen):
		return listenHint(listen)
	}
	if errors.As(err, &status) && status.Hearsay && status.Code == route.CodeNotAllowed {
		return "a bridge, or a private relay, passes on whom it trusts and who enters it through a " +
			"channel: BRIDGE:8000/HOST:7000, RELAY:4000/NAME@, BRIDGE:8000/RELAY:4000/NAME@"
	}
	if errors.As(err, &status) && !status.Hearsay && status.Reason == portal.NotAllowed {
		return "the outlet's --allow-target says who may reach what: this side's Identifier, or the " +
			"attributes of its credential, are not among those; the outlet's log says more"
	}
	if errors.As(err, &status) {
		return cmp.Or(otherKindHint(status), missingHint(status.Missing()))
	}
	return ""
}

// otherKindHint is for who asks for connections where there are datagrams, or the other way round.
func otherKindHint(status *route.StatusError) string {
	switch hasDatagrams, ok := status.IsOtherKind(); {
	case hasDatagrams:
		return "an inlet reaches it that listens at udp://[HOST]:PORT; other commands take a route to " +
			"it with udp:// in front"
	case ok:
		return "an inlet reaches it that listens at [HOST]:PORT, or a Unix socket; or the outlet has " +
			"to have a --target of udp://HOST:PORT"
	}
	return ""
}

// dialHint is for what cannot be dialed.
func dialHint(err *route.DialError) string {
	var lookUp *net.DNSError
	switch {
	case errors.Is(err, syscall.EINVAL) && isLinkLocal(err):
		return linkLocalHint
	case errors.As(err, &lookUp):
		return "is the name spelled as it is known, and does this machine's name service answer " +
			"(getent hosts NAME)? An IP address does without"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there: is what should be there running, and is that its port?"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files (ulimit -n, or LimitNOFILE= of systemd)"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no way there from here: is this machine's network up, and is the address right?"
	case isTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return "nothing comes back from there: the machine is off, or a firewall on the way swallows " +
			"what is sent"
	}
	return ""
}

// listenHint is for where nobody can listen.
func listenHint(err *transport.ListenError) string {
	socket := transport.Scheme(err.Address) == "unix"
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && socket:
		return "another process listens there, or the file is no socket; choose another path"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process listens there; choose another port, or 0 for a free one"
	case errors.Is(err, fs.ErrNotExist) && socket:
		return "make the folder first, if that is the path you mean"
	case errors.Is(err, fs.ErrPermission) && socket:
		return "choose a folder where this user can write"
	case errors.Is(err, fs.ErrPermission):
		return "ports below 1024 take a privilege, CAP_NET_BIND_SERVICE on Linux; choose a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address; no host, as in :7000, is what it has"
	case transport.MissingInterface(err.Address) != nil:
		return transport.MissingInterface(err.Address).Error()
	case errors.Is(err, syscall.EINVAL) && err.Address.IP.IsLinkLocalUnicast():
		return linkLocalHint
	}
	return ""
}

// linkLocalHint is for an IPv6 address that stands without its interface.
const linkLocalHint = "a link-local address stands with the interface that it is behind: " +
	"[fe80::1%eth0]:7000"

// foreignHint is what to look at where something else listens than is meant.
const foreignHint = "is that the port of an sp outlet, relay or bridge, and not the service's own?"

// isLinkLocal tells whether an address that cannot be dialed lacks its interface.
func isLinkLocal(err error) bool {
	var dial *route.DialError
	if !errors.As(err, &dial) {
		return false
	}
	at, err := netip.ParseAddrPort(dial.Where)
	return err == nil && at.Addr().IsLinkLocalUnicast() && at.Addr().Zone() == ""
}

// problemHint is for what went wrong in a daemon.
func problemHint(d *daemon.Error) string {
	switch d.Problem {
	case daemon.NoKeyPlace:
		return "name a key file with --identity, in a folder where this user can write: it is made on " +
			"first use; or one that is there, readable by this user alone"
	case daemon.NoFolder:
		return "make the folder first, if that is the file you mean"
	case daemon.NoListFile:
		return "create the file first; it may be empty"
	case daemon.TooLong:
		return "present fewer credentials, or have them issued by an authority with a short history; " +
			"a new identity has the shortest"
	case daemon.NoPlace:
		return "name a file with --seen in a folder where this user can write, or leave --seen out"
	case daemon.OwnRotation:
		return "name another file with --seen"
	case daemon.TicketFailed:
		return "the ticket may be late, redeemed by another identity, or not one for this outlet, " +
			"or the outlet has no --allow-file; its log says why: ask for a new one"
	case daemon.NoClaimants:
		return "have the outlet's machine run what sp pair --one-way prints here; or name who may with " +
			"--allow I…, which sp identity show prints there; or --allow-anyone; or --identity FILE, if " +
			"relay and outlets are to have the same key. An identity that this user gets on this machine " +
			"may as well, from then on"
	case daemon.NeedsRestart:
		return "restart the process; or start it with no-sandbox, if it is to change in every way"
	case daemon.RelayFailed:
		return relayHint(d)
	}
	return ""
}

// relayHint is for a name that could not be claimed on a relay.
func relayHint(d *daemon.Error) string {
	var status *route.StatusError
	told := errors.As(d, &status) && !status.Hearsay
	switch {
	case errors.Is(d, channel.ErrRefusedByPeer),
		told && status.Code == route.CodeNotTrusted:
		return "start the relay, and a bridge on the way to it, with --allow " + d.Self.String() +
			"; or run here what sp pair --one-way prints there; its log says why it refuses"
	case errors.Is(d, trust.ErrNotTrusted):
		return "name the relay's Identifier with --relay-identity, if it is the one you mean"
	case told && status.Code == route.CodeNameTaken:
		return "another process with this identity loses the name to one with --replace; " +
			"one with another identity keeps it"
	}
	return ""
}

func usageHint(u *usageError) string {
	var field *config.FieldError
	switch {
	case errors.As(u, &field) && field.Field == "suite":
		return fmt.Sprintf("one of %v", noise.Suites())
	}
	if u.hint != "" {
		return u.hint
	}
	return fmt.Sprintf("see %s --help", u.command)
}

// missingHint tells apart who has been taken for whom, by the service that a node has not got.
func missingHint(service string) string {
	switch {
	case service == route.OutletName:
		return "that is no outlet; if it is a relay, name the outlet behind it: NAME@host:port; if it " +
			"is an outlet with --socks5, start this side with --socks5 as well"
	case service == route.ConnectName:
		return "that is no outlet with --socks5: start it so, or leave --socks5 out on this side"
	case strings.HasPrefix(service, route.DatagramsPrefix):
		return "that is no outlet of datagrams, or sp there is too old for them; an outlet of them has " +
			"a --target of udp://HOST:PORT"
	case service == relay.RegisterName:
		return "that is no relay; an inlet reaches an outlet that listens at host:port without one"
	case strings.HasPrefix(service, route.ForwardPrefix):
		return "no outlet goes by that name there just now; if that is the outlet itself, ask for " +
			"it as the line that it prints does"
	}
	return ""
}
