package cli

import (
	"flag"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/keyfile"
	"github.com/secureportal/sp/route/transport"
)

// check makes the configuration of a portal, and takes note of all that is wrong with it: what is
// not good is left out, or something good put in its place, and what is left looked at again.
func (r *fileReader) check(p *filePortal) config.Config {
	keys, mended := maps.Clone(p.keys), make(map[string]bool)
	mend := func(name string) {
		mended[name] = true
		delete(keys, name)
		if good, ok := placeholders[name]; ok && p.role.keyFlags()[name] != nil {
			keys[name] = keyfile.Key{Name: name, Value: good}
		}
		if _, ok := keys["name"]; name == "relay" && !ok { // which nobody has left out
			keys["name"] = keyfile.Key{Name: "name", Value: placeholders["name"]}
		}
	}
	for _, name := range p.bad {
		mend(name)
	}
	for {
		c, err := r.configOf(p, keys)
		if err == nil {
			return c
		}
		name := keyOfError(err)
		if mended[name] {
			return c
		}
		r.keyFaults(p, keys, name, err)
		mend(name)
	}
}

// keyFaults takes note of what is wrong with one key: of a list, with each of its values.
func (r *fileReader) keyFaults(
	p *filePortal, keys map[string]keyfile.Key, name string, err error,
) {
	k, given := keys[name]
	list, _ := k.Value.([]string)
	some := false
	if len(list) > 1 {
		for _, value := range list {
			one := maps.Clone(keys)
			one[name] = keyfile.Key{Name: name, Value: []string{value}}
			if _, err := r.configOf(p, one); err != nil && keyOfError(err) == name {
				some = true
				r.keyFault(p, k, r.text.LineOf(k, value), err)
			}
		}
	}
	if some {
		return
	}
	line := p.table.Line()
	if at := k.Line(); given && at > 0 {
		line = at
		if len(list) == 1 {
			line = r.text.LineOf(k, list[0])
		}
	}
	r.keyFault(p, k, line, err)
}

func (r *fileReader) keyFault(p *filePortal, k keyfile.Key, line int, err error) {
	where := p.fullName() + ": "
	if slices.ContainsFunc(r.text.Top, func(top keyfile.Key) bool {
		return top.IsFrom(k)
	}) {
		where = "" // it is no matter of this portal
	}
	r.fault(keyfile.Faultf(line, "%s%s", where, asKeys(err)), err)
}

// asKeys is the text of an error with keys in place of flags.
func asKeys(err error) string {
	if f, ok := asField(err); ok {
		return f.Describe(func(field string) string { return field })
	}
	return flagInText.ReplaceAllStringFunc(err.Error(), func(flag string) string {
		return strings.TrimPrefix(flag, "--")
	})
}

// keyOfError returns which key an error is about, or "".
func keyOfError(err error) string {
	if f, ok := asField(err); ok {
		return f.Field
	}
	if k, ok := asKeyError(err); ok {
		return k.key
	}
	return strings.TrimPrefix(flagInText.FindString(err.Error()), "--")
}

// configOf makes the configuration of a portal with some keys.
func (r *fileReader) configOf(
	p *filePortal, keys map[string]keyfile.Key,
) (c config.Config, err error) {
	command := p.role.command()
	set := flag.NewFlagSet(p.name, flag.ContinueOnError)
	given := make(map[string]int)
	for _, f := range command.Flags {
		if err := f.Apply(set); err != nil {
			return c, err
		}
		name := f.Names()[0]
		k, ok := keys[name]
		if !ok {
			continue
		}
		values, _ := r.values(k, f) // it has been looked at
		given[name] = 1
		if all, ok := set.Lookup(name).Value.(*list); ok {
			all.values = values
			continue
		}
		if err := set.Set(name, strings.Join(values, "")); err != nil { // it is one
			return c, &keyError{key: name, err: err}
		}
	}
	flags := cli.NewContext(r.app, set, nil)
	flags.Command = command
	if err := checkNumbers(flags); err != nil {
		return c, err
	}
	call := &call{flags: flags, given: given, stdin: &input{taken: true}}
	c.Node = nodeConfig(call)
	if err := p.role.fill(call, &c); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	return c, checkSockets(c)
}

// values returns a key's value as its flag takes it, one but for a list, or what is wrong with it.
func (r *fileReader) values(k keyfile.Key, f cli.Flag) (values []string, fault string) {
	switch f := f.(type) {
	case *cli.BoolFlag:
		if yes, ok := k.Value.(bool); ok {
			return []string{strconv.FormatBool(yes)}, ""
		}
		return nil, "is neither true nor false"
	case *cli.IntFlag:
		if n, ok := k.Value.(int64); ok {
			return []string{strconv.FormatInt(n, 10)}, ""
		}
		return nil, "is not a whole number, without quotes"
	case *cli.DurationFlag:
		text, ok := k.Value.(string)
		if _, err := time.ParseDuration(text); ok && err == nil {
			return []string{text}, ""
		}
		return nil, `is not a time like "500ms", "30s" or "5m", in quotes`
	case *listFlag:
		list := listOf(k)
		if list == nil && k.Value != nil && !isEmptyList(k.Value) {
			return nil, `is not a list like ["one", "two"]`
		}
		for _, text := range list {
			text, fault := r.value(k.Name, text, f.TakesFile)
			if fault != "" {
				return nil, fault
			}
			values = append(values, text)
		}
		return values, ""
	case *cli.StringFlag:
		list := listOf(k)
		switch {
		case len(list) > 1:
			return nil, "takes one value"
		case len(list) == 0:
			return nil, `is not a text in quotes`
		}
		text, fault := r.value(k.Name, list[0], f.TakesFile || k.Name == "ticket")
		return []string{text}, fault
	}
	return nil, "cannot stand in a file"
}

func isEmptyList(value any) bool {
	list, ok := value.([]string)
	return ok && len(list) == 0
}

// value returns one text as it is meant: files are where the file itself is.
func (r *fileReader) value(name, text string, isFile bool) (value, fault string) {
	switch {
	case strings.ContainsAny(text, "\n\r\x00"):
		return "", "has more than one line"
	case name == "ticket" && strings.HasPrefix(text, "sp-ticket-"):
		return "", "is the ticket itself, a secret: put it into a file that only you can read, and " +
			"name that"
	case name == "proxy" && hasPassword(text):
		return "", "has a password in it, a secret: put that into a file that only you can read, and " +
			"name it as proxy-password-file"
	case text == fromStdin, name == "to" && strings.HasPrefix(text, fromStdin):
		return "", "is -, and a file of portals has no stdin and stdout"
	case isFile && text != "":
		return r.absolute(text), ""
	}
	switch name {
	case "metrics":
		return r.absoluteSocket(text), ""
	case "listen", "target", "sni":
		return config.EachTarget(text, r.absoluteSocket), ""
	}
	return text, ""
}

func hasPassword(proxy string) bool {
	p, err := transport.ParseProxy(proxy)
	return err == nil && p.HasPassword()
}

// absoluteSocket returns an address, of which the path is absolute if it has one.
func (r *fileReader) absoluteSocket(address string) string {
	socket, isSocket := strings.CutPrefix(address, "unix:")
	if !isSocket || socket == "" {
		return address
	}
	return "unix:" + r.absolute(socket)
}

func (r *fileReader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.folder, path)
}
