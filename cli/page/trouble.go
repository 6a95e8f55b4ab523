package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/cli/wording"
)

// troubles is what is wrong with a process now, in words, the worst first.
func troubles(r daemon.Report, failed []failure) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, text := range r.Trouble {
		add("%s", clip(text))
	}
	for _, p := range r.Portals {
		switch {
		case !p.Ready && p.Error != "" && len(p.Paths) == 0 && len(p.Claims) == 0:
			add("%s cannot be used: %s", title(p), clip(p.Error))
		case !p.Ready:
			add("%s cannot be used", title(p))
		case p.Error != "" && len(p.Claims) == 0:
			add("%s: %s", title(p), clip(p.Error))
		}
		for _, path := range p.Paths {
			if !path.Up {
				add("%s: the path %s is down, for %s%s", title(p), by(path.Hops),
					wording.Ago(path.Since), because(path.Error))
			}
		}
		for _, c := range p.Claims {
			if !c.Held {
				add("%s: the name %s is not held at %s%s", title(p), clip(c.Name), clip(c.Relay),
					because(c.Error))
			}
			for _, at := range c.Broken() {
				add("%s: the name %s has not been held at %s for %s%s", title(p), clip(c.Name),
					clip(at.Relay), wording.Ago(at.Lost), because(at.Error))
			}
		}
	}
	for _, n := range r.Nodes {
		if n.Away > 0 {
			add("%s: the relay %s of its set has been away for %s%s", clip(n.Portal),
				clip(strings.Join(n.Addresses, ", ")), wording.Ago(n.Away), because(n.Error))
		}
	}
	for _, f := range failed {
		if slices.Contains(failedOpening, f.name) {
			add("%s: %.0f in the last minute", f.what, f.count)
		}
	}
	if n := suspended(r.Connections); n > 0 {
		add("connections that have lost their link and wait for another one: %d", n)
	}
	if r.Stopping {
		add("the process is stopping, and waits for what is open")
	}
	return all
}

func suspended(all []daemon.ConnectionReport) (n int) {
	for _, c := range all {
		if c.Suspended {
			n++
		}
	}
	return n
}

// title is what a portal is called: by its configuration, if there are several.
func title(p daemon.PortalReport) string {
	name := called(p)
	switch {
	case p.Config == "":
		return string(p.Kind) + " " + clip(name)
	case name == string(p.Kind):
		return clip(p.Config)
	}
	return clip(p.Config) + " (" + clip(name) + ")"
}

// called is the name by which people know a portal: an outlet's that is not told from others is
// what it claims, and what listens at a free port is known by that.
func called(p daemon.PortalReport) string {
	switch {
	case p.Name == string(p.Kind) && len(p.Claims) > 0:
		return p.Claims[0].Name
	case strings.HasSuffix(p.Name, ":0") && p.Address != "":
		return p.Address
	}
	return p.Name
}

// by is a path in a few words: where it leads to, and through what.
func by(hops []string) string {
	if len(hops) == 0 {
		return "?"
	}
	last := len(hops) - 1
	if last == 0 {
		return "to " + clip(hops[0])
	}
	return "to " + clip(hops[last]) + " by " + clip(strings.Join(hops[:last], ", "))
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + clip(err)
}

// clip is what others may have said, as it may be shown.
func clip(text string) string { return clipTo(text, maxText) }

// clipTo is clip for less room: letters.
func clipTo(text string, most int) string {
	if len(text) > 4*most { // most bytes of a letter
		text = strings.ToValidUTF8(text[:4*most], "")
	}
	all := []rune(wording.Plain(text))
	if len(all) <= most {
		return string(all)
	}
	return string(all[:most-1]) + "…"
}
