package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/keyfile"
	"github.com/secureportal/sp/internal/sorting"
)

// A file of portals, as sp up runs it: each table is a role with its flags as keys, and what stands
// at the top is for all of them.
//
// The keys are the flags themselves, read by what reads those: so there is no key that no flag has,
// and no flag without its key, but for those below.

// portalRole is a role as a file has it.
type portalRole struct {
	kind    string
	command func() *cli.Command
	// fill adds the portal that a call's flags say to a configuration.
	fill func(*call, *config.Config) error
	// entrance is the portal's, once there is one; nil for those without.
	entrance func(*config.Config) *config.Entrance
}

// portalRoles are the kinds of tables.
var portalRoles = []*portalRole{
	{kind: "inlet", command: inletCommand, fill: fillInlet},
	{
		kind: "outlet", command: outletCommand,
		fill: func(c *call, all *config.Config) error {
			all.Outlets = []config.Outlet{outletOf(c)}
			return nil
		},
		entrance: func(all *config.Config) *config.Entrance { return &all.Outlets[0].Entrance },
	},
	{
		kind: "relay", command: relayCommand,
		fill: func(c *call, all *config.Config) error {
			all.Relays = []config.Relay{relayOf(c)}
			return nil
		},
		entrance: func(all *config.Config) *config.Entrance { return &all.Relays[0].Entrance },
	},
	{
		kind: "bridge", command: bridgeCommand,
		fill: func(c *call, all *config.Config) error {
			all.Bridges = []config.Bridge{bridgeOf(c)}
			return nil
		},
		entrance: func(all *config.Config) *config.Entrance { return &all.Bridges[0].Entrance },
	},
}

// fillInlet is for an inlet whose ticket, if it has one, is in a file.
func fillInlet(c *call, all *config.Config) error {
	in := inletOf(c)
	ticket, err := validTicket(c.text("ticket"), c.stdin)
	if err != nil {
		return &keyError{key: "ticket", err: err}
	}
	in.To = c.list("to")
	if ticket != nil {
		all.Node.Ticket = ticket.String()
		if len(in.To) == 0 {
			in.To = []string{ticket.Route()}
		}
	}
	all.Inlets = []config.Inlet{in}
	return nil
}

func roleOf(kind string) *portalRole {
	for _, r := range portalRoles {
		if r.kind == kind {
			return r
		}
	}
	return nil
}

func roleKinds() (all []string) {
	for _, r := range portalRoles {
		all = append(all, r.kind)
	}
	return all
}

// notKeys are flags of roles that are no keys, and why not.
var notKeys = map[string]string{
	"status-socket": "it is a flag of sp up itself",
	"log-file":      "the log of sp up is on stderr",
	"no-status":     "a process of many portals can be asked",
	"background":    "who runs services has sp up in the background",
	"pid-file":      "who runs services knows the process",
	"ready-file":    "sp up prints a line when all are ready, and tells systemd",
	"once":          "a process of many portals does not end with one of them",
	"idle-exit":     "a process of many portals does not end with one of them",
}

// processKeys are those of the whole process, which stand at the top of a file only.
var processKeys = []string{
	"log-format", "log-level", "no-sandbox", "memory", "survive-memory",
	"metrics", "metrics-token-file", "metrics-pprof", "log-connections",
}

// anchorKeys are those that say whom a portal trusts. They go together: who says one of them for a
// portal does not want those of the top as well.
var anchorKeys = []string{"allow", "allow-file", "allow-anyone", "authority", "require"}

// addedKeys are those of which the top's values hold for a portal that has its own as well: nobody
// is let in by leaving out one.
var addedKeys = []string{"deny", "deny-file"}

// placeholders are good values of keys that must be there, for going on behind a bad one.
var placeholders = map[string]any{
	"listen": "127.0.0.1:0", "target": "127.0.0.1:1", "to": []string{"127.0.0.1:1"},
	"next": []string{"127.0.0.1:1"}, "name": "x", "relay": []string{"127.0.0.1:1"},
}

// portalFile is a file of portals that has been read.
type portalFile struct {
	path    string
	text    string
	keys    map[string]keyfile.Key // that stand at the top
	portals []filePortal
}

// filePortal is one portal of a file.
type filePortal struct {
	role   *portalRole
	name   string
	table  keyfile.Table
	keys   map[string]keyfile.Key // its own, and what it has from the top
	bad    []string               // keys whose values are none that their flags could have
	config config.Config
}

// fullName is what a portal is called in the log, and where others ask for it.
func (p *filePortal) fullName() string { return p.role.kind + " " + p.name }

// fileFault is something that is wrong with a file, and what to do about it, if that can be said.
type fileFault struct {
	keyfile.Fault
	hint string
}

// fileError is that a file is not good.
type fileError struct {
	path   string
	faults []fileFault
}

func (e *fileError) Error() string { return strings.Join(e.lines(), "\n") }

// lines is a line for each fault.
func (e *fileError) lines() (all []string) {
	for _, f := range e.faults {
		all = append(all, fmt.Sprintf("%s:%d: %s", e.path, f.Line, oneLine(f.Text)))
	}
	return all
}

// Is tells that it is wrong usage.
func (e *fileError) Is(target error) bool { return target == errUsage }

// keyError is an error that is about a key.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// fileReader makes portals of what a file says.
type fileReader struct {
	path, folder string
	text         *keyfile.File
	app          *cli.App
	faults       []fileFault
	told         map[keyfile.Fault]bool
}

// readPortals reads the text of a file of portals, which is at an absolute path, and looks at the
// files that it names if that is asked for. An error is a *fileError.
func readPortals(path, text string, files bool) (*portalFile, error) {
	parsed, faults := keyfile.Parse(text)
	r := &fileReader{
		path: path, folder: filepath.Dir(path), text: parsed, app: new(cli.App),
		told: make(map[keyfile.Fault]bool),
	}
	for _, f := range faults {
		r.fault(f, nil)
	}
	if parsed == nil {
		return nil, r.error()
	}
	f := &portalFile{path: path, text: text, keys: r.topKeys()}
	f.portals = r.portals(f.keys)
	for i := range f.portals { // it is the process's, whatever the first portal is
		f.portals[i].config.Node.SurviveMemory = f.processText("survive-memory", "")
	}
	if len(parsed.Tables) == 0 && len(r.faults) == 0 {
		r.fault(keyfile.Faultf(1, "there is no portal in it: [%s.NAME]",
			strings.Join(roleKinds(), ".NAME], [")), nil)
	}
	if len(r.faults) == 0 {
		r.checkTogether(f)
	}
	if files {
		r.checkFiles(f)
	}
	if len(r.faults) > 0 {
		return nil, r.error()
	}
	return f, nil
}

func (r *fileReader) error() error {
	sorting.Stable(r.faults, func(a, b fileFault) int { return a.Line - b.Line })
	return &fileError{r.path, r.faults}
}

// fault takes note of a fault once: what stands at the top is read for each portal. err is what it
// comes from, or nil.
func (r *fileReader) fault(f keyfile.Fault, err error) {
	if r.told[f] {
		return
	}
	r.told[f] = true
	hint, u := "", (*usageError)(nil)
	if err != nil && (!errors.As(err, &u) || u.hint != "") { // the help of a command does not help
		hint = hintFor(err)
	}
	r.faults = append(r.faults, fileFault{f, hint})
}

// processText is the text of a key of the whole process.
func (f *portalFile) processText(name, otherwise string) string {
	if list := listOf(f.keys[name]); len(list) == 1 {
		return list[0]
	}
	return otherwise
}

// named are the configurations of a file's portals.
func (f *portalFile) named() (all []daemon.Named) {
	for _, p := range f.portals {
		all = append(all, daemon.Named{Name: p.fullName(), Config: p.config})
	}
	return all
}

func (f *portalFile) portal(fullName string) *filePortal {
	for i := range f.portals {
		if f.portals[i].fullName() == fullName {
			return &f.portals[i]
		}
	}
	return nil
}

// topFlags are the flags that all roles have in common, or all that have them mean the same by:
// what may stand at the top.
func topFlags() map[string]cli.Flag {
	all := make(map[string]cli.Flag)
	for _, f := range slices.Concat(portalFlags(ownKeyText), surviveFlags()) {
		if name := f.Names()[0]; notKeys[name] == "" {
			all[name] = f
		}
	}
	return all
}

// keyFlags are the flags of a role that are keys of its tables.
func (role *portalRole) keyFlags() map[string]cli.Flag {
	all := make(map[string]cli.Flag)
	for _, f := range role.command().Flags {
		name := f.Names()[0]
		if notKeys[name] == "" && !slices.Contains(processKeys, name) {
			all[name] = f
		}
	}
	return all
}

// topKeys reads what stands at the top.
func (r *fileReader) topKeys() map[string]keyfile.Key {
	flags := topFlags()
	all := make(map[string]keyfile.Key)
	for _, k := range r.text.Top {
		switch f := flags[k.Name]; {
		case f != nil:
			r.take(all, k, f, "")
		case roleOf(k.Name) != nil:
			r.fault(keyfile.Faultf(k.Line(), "%s stands in a table of its own: [%s.NAME]",
				k.Name, k.Name), nil)
		default:
			r.fault(r.unknownAtTop(k, flags), nil)
		}
	}
	r.checkProcess(&portalFile{path: r.path, keys: all})
	return all
}

// checkProcess looks at the keys of the whole process, each on its own, but for those that are
// checked with each portal.
func (r *fileReader) checkProcess(f *portalFile) {
	fault := func(name string, err error) {
		if err != nil {
			line := 1 // it is a key that is missing, if it has no line
			if k, ok := f.keys[name]; ok {
				line = k.Line()
			}
			r.fault(keyfile.Faultf(line, "%s", asKeys(err)), err)
		}
	}
	_, err := newLogger(f.processText("log-format", "text"), "info", io.Discard)
	fault("log-format", err)
	_, err = newLogger("text", f.processText("log-level", "info"), io.Discard)
	fault("log-level", err)
	_, err = parseLogPolicy(f.processText("log-connections", ""))
	fault("log-connections", err)
	if err = f.metrics().Validate(); err != nil {
		fault(keyOfError(err), err)
	}
}

// metrics is what the file says of metrics.
func (f *portalFile) metrics() config.Metrics {
	r := &fileReader{folder: filepath.Dir(f.path)}
	m := config.Metrics{
		Listen: r.absoluteSocket(f.processText("metrics", "")),
		Pprof:  f.keys["metrics-pprof"].Value == true,
	}
	if token := f.processText("metrics-token-file", ""); token != "" {
		m.TokenFile = r.absolute(token)
	}
	return m
}

func (r *fileReader) unknownAtTop(k keyfile.Key, flags map[string]cli.Flag) keyfile.Fault {
	if why := notKeys[k.Name]; why != "" {
		return keyfile.Faultf(k.Line(), "%s is no key: %s", k.Name, why)
	}
	var kinds []string
	for _, role := range portalRoles {
		if role.keyFlags()[k.Name] != nil {
			kinds = append(kinds, "["+role.kind+".NAME]")
		}
	}
	if len(kinds) > 0 {
		return keyfile.Faultf(k.Line(), "%s stands in a table: %s", k.Name, strings.Join(kinds, ", "))
	}
	return unknownKey(k, "", "", flags)
}

// unknownKey is for a key of a role's table, or of the top if kind is empty.
func unknownKey(k keyfile.Key, where, kind string, flags map[string]cli.Flag) keyfile.Fault {
	names := slices.Sorted(maps.Keys(flags))
	text := fmt.Sprintf("there is no key %s", k.Name)
	if near := nearest(k.Name, names); near != "" {
		text += ": is " + near + " meant?"
	} else if kind != "" {
		text += ": the keys are the flags of sp " + kind
	} else {
		text += ": the keys at the top are flags that all roles have"
	}
	return keyfile.Fault{Line: k.Line(), Text: where + text}
}

// take puts a key among others if its value is one that the flag could have, and reports whether it
// is.
func (r *fileReader) take(
	all map[string]keyfile.Key, k keyfile.Key, f cli.Flag, where string,
) bool {
	_, fault := r.values(k, f)
	if fault != "" {
		r.fault(keyfile.Faultf(k.Line(), "%s%s %s", where, k.Name, fault), nil)
		return false
	}
	all[k.Name] = k
	return true
}

// portals reads the tables.
func (r *fileReader) portals(top map[string]keyfile.Key) (all []filePortal) {
	for _, t := range r.text.Tables {
		role := roleOf(t.Kind)
		if role == nil {
			text := fmt.Sprintf("there is no [%s.NAME]", t.Kind)
			near := nearest(t.Kind, roleKinds())
			if near == "" && roleOf(otherWords[t.Kind]) != nil {
				near = otherWords[t.Kind]
			}
			if near != "" {
				text += ": is [" + near + ".NAME] meant?"
			} else {
				text += ": there are [" + strings.Join(roleKinds(), ".NAME], [") + ".NAME]"
			}
			r.fault(keyfile.Faultf(t.Line(), "%s", text), nil)
			continue
		}
		p := filePortal{role: role, name: t.Name, table: t}
		if len(t.Name) > maxPortalName || !portalName.MatchString(t.Name) {
			r.fault(keyfile.Faultf(t.Line(), "[%s.%q]: a name is 1 to 64 letters, digits, dots, dashes "+
				"and underscores", t.Kind, t.Name), nil)
			continue
		}
		r.readTable(&p, t, top)
		all = append(all, p)
	}
	return all
}

var portalName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

const maxPortalName = 64

// readTable reads one table, and all that is wrong in it.
func (r *fileReader) readTable(p *filePortal, t keyfile.Table, top map[string]keyfile.Key) {
	flags, own := p.role.keyFlags(), make(map[string]keyfile.Key)
	where := p.fullName() + ": "
	for _, k := range t.Keys {
		f := flags[k.Name]
		switch {
		case f != nil:
			if !r.take(own, k, f, where) {
				p.bad = append(p.bad, k.Name)
			}
		case slices.Contains(processKeys, k.Name):
			r.fault(keyfile.Faultf(k.Line(), "%s%s is for the whole process: it stands at the top",
				where, k.Name), nil)
		case notKeys[k.Name] != "":
			r.fault(keyfile.Faultf(k.Line(), "%s%s is no key: %s", where, k.Name, notKeys[k.Name]), nil)
		default:
			r.fault(unknownKey(k, where, p.role.kind, flags), nil)
		}
	}
	p.keys = withTop(own, top, p.role.command().Flags)
	_, named := config.SplitTargets(listOf(own["target"])) // these have names of their own
	if p.role.entrance != nil && hasValues(own["relay"]) && !hasValues(own["name"]) &&
		len(named) == 0 {
		p.keys["name"] = t.At("name", t.Name)
	}
	p.config = r.check(p)
	if allow, ok := p.keys["allow"]; ok && len(listOf(allow)) == 0 {
		p.config.Node.Trust.NoFriends = true
	}
}

func hasValues(k keyfile.Key) bool {
	switch v := k.Value.(type) {
	case string:
		return v != ""
	case []string:
		return len(v) > 0
	}
	return k.Value != nil
}

// withTop adds what a portal has from the top of its file.
func withTop(own, top map[string]keyfile.Key, flags []cli.Flag) map[string]keyfile.Key {
	all := maps.Clone(own)
	ownAnchors := slices.ContainsFunc(anchorKeys, func(name string) bool {
		_, ok := own[name]
		return ok
	})
	for _, f := range flags {
		name := f.Names()[0]
		k, ok := top[name]
		mine, isOwn := own[name]
		switch {
		case !ok, ownAnchors && slices.Contains(anchorKeys, name):
		case !isOwn:
			all[name] = k
		case slices.Contains(addedKeys, name):
			mine.Value = append(slices.Clone(listOf(mine)), listOf(k)...)
			all[name] = mine
		}
	}
	return all
}

func listOf(k keyfile.Key) []string {
	switch v := k.Value.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	}
	return nil
}
