package config

import (
	"regexp"
	"strings"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route/transport"
)

// Target is one service of an outlet.
type Target struct {
	Name    string  // by which it is chosen; empty if there is no choice, or nothing else is chosen
	Text    string  // where it is, as it was written
	Address Address // the zero one is Stdio or Bench
	TLS     bool    // it is spoken to in TLS
}

// HasNoAddress tells whether the service is nowhere that could be dialed.
func (t Target) HasNoAddress() bool { return t.Text == Stdio || t.Text == Bench }

// IsUDP tells whether the service is sent datagrams.
func (t Target) IsUDP() bool { return transport.IsUDP(t.Text) }

// maxTargets is how many services one outlet has at most: each name of one is claimed on relays.
const maxTargets = 1000

var (
	targetName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	nextTarget = regexp.MustCompile(`,[A-Za-z0-9._-]+=`)
)

// SplitTargets reads what the values of field "target" say: one that is not chosen by its name, or
// several that are.
func SplitTargets(texts []string) (target string, targets []string) {
	if len(texts) == 1 {
		if name, _, named := strings.Cut(texts[0], "="); !named || !targetName.MatchString(name) {
			return texts[0], nil
		}
	}
	return "", texts
}

// NamedPlace is where connections to the outlet of a name come in.
type NamedPlace struct{ Name, Where string }

// NamedPlaces reads NAME=WHERE,NAME=WHERE, what --listen of several inlets says. It returns nothing
// of what has no name.
func NamedPlaces(text string) (all []NamedPlace) {
	for _, one := range cutTargets(text) {
		name, where, named := strings.Cut(one, "=")
		if !named || !targetName.MatchString(name) {
			return nil
		}
		all = append(all, NamedPlace{name, where})
	}
	return all
}

// AllTargets returns the outlet's services, without names that are there twice.
func (o Outlet) AllTargets() ([]Target, error) {
	var all []Target
	var err error
	switch {
	case len(o.Targets) > 0:
		return parseNamed("target", o.Targets)
	case len(o.ServerNames) > 0:
		if all, err = parseNamed("sni", o.ServerNames); err != nil {
			return nil, err
		}
	case o.Socks5:
		return nil, nil
	}
	if o.Target == "" && len(all) > 0 {
		return all, nil
	}
	one := Target{Text: o.Target}
	one.Address, one.TLS, err = parseTarget("target", o.Target)
	return append(all, one), err
}

// IsChosen tells whether it depends on who asks for what where a connection leads.
func (o Outlet) IsChosen() bool { return o.Socks5 || len(o.Targets)+len(o.ServerNames) > 0 }

// cutTargets cuts NAME=TARGET,NAME=TARGET at its commas, which a TARGET may have too.
func cutTargets(text string) (all []string) {
	for {
		at := nextTarget.FindStringIndex(text)
		if at == nil {
			return append(all, text)
		}
		all, text = append(all, text[:at[0]]), text[at[0]+1:]
	}
}

// EachTarget returns what field "target" or "sni" may say, or "listen" of several inlets, with each
// address in it as change has it.
func EachTarget(text string, change func(target string) string) string {
	all := cutTargets(text)
	for i, one := range all {
		name, target, named := strings.Cut(one, "=")
		if named && targetName.MatchString(name) {
			all[i] = name + "=" + change(target)
		} else {
			all[i] = change(one)
		}
	}
	return strings.Join(all, ",")
}

// parseNamed reads NAME=TARGET,NAME=TARGET of several values.
func parseNamed(field string, texts []string) (all []Target, err error) {
	taken := make(map[string]bool)
	for _, text := range texts {
		for _, one := range cutTargets(text) {
			name, where, named := strings.Cut(one, "=")
			if field == "sni" {
				name = strings.ToLower(name)
			}
			switch {
			case transport.IsUDP(where), transport.IsUDP(one):
				return nil, fieldError(field, "{"+field+"} %q: a service of datagrams is an outlet's only "+
					"one: have another outlet for it, with a name of its own", one)
			case !named || !targetName.MatchString(name):
				return nil, fieldError(field, "{"+field+"} %q is not NAME=TARGET: of several services each "+
					"has a name of letters, digits, dots, dashes and underscores", one)
			case taken[name]:
				return nil, fieldError(field, "{"+field+"} %q: the name %s is given twice", one, name)
			case where == Stdio:
				return nil, fieldError(field, "{"+field+"} %q: stdin and stdout are there once, and "+
					"a service of several is there for everybody", one)
			}
			taken[name] = true
			t := Target{Name: name, Text: where}
			if t.Address, t.TLS, err = parseTarget(field, where); err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	if len(all) > maxTargets {
		return nil, fieldError(field, "{"+field+"}: %d services, and one outlet has at most %d", len(all),
			maxTargets)
	}
	return all, nil
}

// Names are those that the outlet goes by: its Name, if it has one, or those of its Targets. An
// outlet without Name that listens is asked for without one.
func (o Outlet) Names() (all []string) {
	if len(o.Targets) == 0 {
		if o.Name == "" {
			return nil
		}
		return []string{o.Name}
	}
	targets, _ := parseNamed("target", o.Targets)
	for _, t := range targets {
		all = append(all, o.NameOf(t))
	}
	return all
}

// NameOf is the name by which inlets ask for one of Targets.
func (o Outlet) NameOf(t Target) string {
	if o.Name == "" {
		return t.Name
	}
	return t.Name + "." + o.Name
}

// Entrances are those of the outlet: one for each of its names, or one without.
func (o Outlet) Entrances() (all []Entrance) {
	for _, name := range o.Names() {
		e := o.Entrance
		e.Name = name
		all = append(all, e)
	}
	if len(all) == 0 {
		return []Entrance{o.Entrance}
	}
	return all
}

// validateTargets tells what is wrong with the services, and with who may reach them.
func (o Outlet) validateTargets() error {
	switch {
	case o.Socks5 && len(o.ServerNames)+len(o.Targets) > 0, o.Socks5 && o.Target != "":
		return fieldError("socks5", "{socks5} goes with neither {target} nor {sni}: whoever asks says "+
			"where to; have another outlet for those")
	case o.Socks5 && len(o.AllowTargets) == 0:
		return fieldError("allow-target", "{socks5} stands without {allow-target}: what may be "+
			"connected to? HOST:PORTS, or CIDR:PORTS")
	case o.Socks5 && o.ProxyProtocol != "":
		return fieldError("proxy-protocol", "{proxy-protocol} does not go with {socks5}: the services "+
			"are those of anybody, who would not know of it")
	case o.Target == Stdio && len(o.ServerNames) > 0:
		return fieldError("sni", "{sni} does not go with {target} -: stdin and stdout are there once")
	case len(o.Targets) > 0 && len(o.ServerNames) > 0:
		return fieldError("sni", "{sni} stands with a {target} that has a name: what the server names "+
			"do not say, one {target} without a name is for")
	case o.IsUDP() && len(o.ServerNames) > 0:
		return fieldError("sni", "{sni} does not go with {target} %s: it is for connections, and not "+
			"for datagrams", o.Target)
	}
	targets, err := o.AllTargets()
	if err != nil {
		return err
	}
	usesTLS := false
	for _, t := range targets {
		usesTLS = usesTLS || t.TLS
		if t.TLS && len(o.ServerNames) > 0 {
			return fieldError("sni", "{sni}: %s would put TLS into TLS: it is the client's, and goes on "+
				"to the service as it is: %s", t.Text, strings.TrimPrefix(t.Text, tlsPrefix))
		}
	}
	if o.TargetCA != "" && !usesTLS {
		return fieldError("target-ca", "{target-ca} is for a {target} of tls://host:port")
	}
	_, err = o.Rules()
	return err
}

// validateChecks tells what is wrong with how services are checked.
func (o Outlet) validateChecks() error {
	if o.Check != "" && o.Socks5 {
		return fieldError("check", "{check} does not go with {socks5}: there is no service to check")
	}
	targets, err := o.AllTargets()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if _, err := o.TargetCheck(t); err != nil {
			return err
		}
	}
	return nil
}

// Rules say who may reach what: what AllowTargets do. Services go by the names that inlets or
// clients ask for.
func (o Outlet) Rules() (portal.Rules, error) {
	names, err := o.allowedNames()
	if err != nil {
		return nil, err
	}
	if len(o.AllowTargets) > 0 && names == nil && !o.Socks5 {
		return nil, fieldError("allow-target", "{allow-target} says who may reach which of several "+
			"targets, and there is one: {allow} and {require} say who may reach that")
	}
	var all portal.Rules
	for _, text := range o.AllowTargets {
		r, err := o.parseAllowed(text, names)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	for name, as := range names {
		reached := len(all) == 0
		for _, r := range all {
			reached = reached || r.Service == as
		}
		if !reached {
			return nil, fieldError("allow-target", "no {allow-target} lets anybody reach the target %s: "+
				"add one, or leave out the target", name)
		}
	}
	return all, nil
}

// allowedNames are the names of services that may be allowed, and what rules call them; nil where
// there is no choice.
func (o Outlet) allowedNames() (map[string]string, error) {
	if o.Socks5 || !o.IsChosen() {
		return nil, nil
	}
	targets, err := o.AllTargets()
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	for _, t := range targets {
		switch {
		case t.Name == "":
			all[portal.DefaultService] = portal.DefaultService
		case len(o.ServerNames) > 0:
			all[t.Name] = t.Name
		default:
			all[t.Name] = o.NameOf(t)
		}
	}
	return all, nil
}

// What stands between the parts of a rule.
const (
	ifWord  = " if "
	andWord = " and "
)

// parseAllowed reads WHAT, or WHAT if WHO, where WHO is an Identifier or KEY=VALUE, an attribute of
// a credential, or several of these with "and" between.
func (o Outlet) parseAllowed(text string, names map[string]string) (r portal.Rule, err error) {
	what, who, conditional := strings.Cut(text, ifWord)
	what = strings.TrimSpace(what)
	if conditional {
		if r.Who, err = parseWho(text, who); err != nil {
			return r, err
		}
	}
	if !o.Socks5 {
		if len(o.ServerNames) > 0 {
			what = strings.ToLower(what)
		}
		as, ok := names[what]
		if !ok && strings.Contains(what, " ") {
			return r, fieldError("allow-target", "{allow-target} %q is neither NAME nor NAME if WHO", text)
		}
		if !ok {
			return r, fieldError("allow-target", "{allow-target} %q: no target has the name %q", text, what)
		}
		r.Service = as
		return r, nil
	}
	r.Where, err = transport.ParsePattern(what)
	if err == nil && transport.IsURL(what) {
		return r, fieldError("allow-target", "{allow-target} %q is not HOST:PORTS or CIDR:PORTS", text)
	}
	if err != nil {
		return r, fieldError("allow-target", "{allow-target} %q: %w", text, err)
	}
	return r, nil
}

// otherJoint is what people write between the parts of WHO, or behind the last one, in place of
// "and": it would be part of an attribute's value, which nobody has.
var otherJoint = regexp.MustCompile(
	`(?i)(?:\s(?:and|or|not|&&|\|\|)|,)(?:\s+(?:\S+=|I[0-9a-f]{64}\b)|\s*$)`)

func parseWho(text, who string) (w portal.Who, err error) {
	var attributes []string
	for one := range strings.SplitSeq(who, andWord) {
		if otherJoint.MatchString(one) {
			return w, fieldError("allow-target", "{allow-target} %q: between two that must both hold "+
				"stands \"and\", and for one or the other there is a line for each", text)
		}
		one = strings.TrimSpace(one)
		if strings.Contains(one, "=") {
			attributes = append(attributes, one)
			continue
		}
		id, err := identity.ParseIdentifier(one)
		switch {
		case err != nil:
			return w, fieldError("allow-target", "{allow-target} %q: %q is neither an Identifier nor "+
				"KEY=VALUE, an attribute of a credential", text, one)
		case !w.Identifier.IsZero() && w.Identifier != id:
			return w, fieldError("allow-target", "{allow-target} %q: nobody has two Identifiers: write a "+
				"line for each", text)
		}
		w.Identifier = id
	}
	if w.Attributes, err = ParseAttributes("allow-target", attributes); err != nil {
		return w, err
	}
	return w, nil
}

// NextHops are where an outlet of Socks5 may connect to, whoever asks.
func (o Outlet) NextHops() (hops NextHops) {
	rules, _ := o.Rules()
	for _, r := range rules {
		if r.Service == "" {
			hops = append(hops, r.Where)
		}
	}
	return hops
}
