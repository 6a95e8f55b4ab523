package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/control"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/textfile"
)

// clockSlack is how far in the future a file of this machine's may be before its clock is doubted.
const clockSlack = 5 * time.Minute

// examineMachine looks at what a route needs on this machine. alone says that there is none, so
// that what runs here is what matters.
func (d *doctor) examineMachine(alone bool) {
	d.examineClock(time.Now())
	d.examineKey()
	d.examineCredentials(time.Now())
	d.examineLists()
	if err := daemon.CheckOpenFiles(); err != nil {
		d.warn("descriptors", err)
	} else {
		d.ok("descriptors", "there are enough")
	}
	d.examineDisk()
	d.examineProcesses(alone)
}

// examineClock doubts a clock that is before what has happened. By how much another node's clock
// differs nobody knows: nodes tell each other ages, never what a clock shows.
func (d *doctor) examineClock(now time.Time) {
	shows := "it shows " + now.UTC().Format(time.RFC3339)
	if built := builtAt(); now.Before(built.Add(-clockSlack)) {
		d.fail("clock", advise(fmt.Errorf("%s, and this sp was built at %s",
			shows, built.UTC().Format(time.RFC3339)), setClock))
		return
	}
	for _, file := range d.files() {
		info, err := os.Stat(file)
		if err == nil && info.ModTime().After(now.Add(clockSlack)) {
			d.warn("clock", advise(fmt.Errorf("%s, and %s was written at %s",
				shows, file, info.ModTime().UTC().Format(time.RFC3339)), setClock))
			return
		}
	}
	d.ok("clock", "%s", shows)
}

const setClock = "set the clock (timedatectl, or chronyd): credentials and tickets count by it"

// builtAt is when the source of this sp was committed, or zero.
func builtAt() (at time.Time) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				at, _ = time.Parse(time.RFC3339, s.Value)
			}
		}
	}
	return at
}

// files are those that the flags name, and the key.
func (d *doctor) files() []string {
	t := d.config.Trust
	return slices.Concat([]string{d.keyPath()}, d.config.Credentials, t.AllowFiles, t.DenyFiles)
}

// keyPath is where the key is, or "" if there is no place for it.
func (d *doctor) keyPath() string {
	path, err := identity.DefaultPath()
	if err != nil {
		path = ""
	}
	return cmp.Or(d.config.Identity, path)
}

func (d *doctor) examineKey() {
	path := d.keyPath()
	id, err := identity.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.warn("key file", advise(fmt.Errorf("there is none yet at %s: one is made on first use, and "+
			"nobody trusts it yet", path), "introduce the two machines with sp pair; or copy the key "+
			"file of the other one there, if both are yours; or have the far end started with --allow and "+
			"what sp identity show prints"))
		return
	case err != nil:
		d.fail("key file", err)
		return
	}
	d.self = id.Identifier().String()
	mode := ""
	if info, err := os.Stat(path); err == nil {
		mode = fmt.Sprintf(", mode %04o", info.Mode().Perm())
	}
	d.ok("key file", "%s: %s%s", path, d.self, mode)
}

func (d *doctor) examineCredentials(now time.Time) {
	for _, file := range d.config.Credentials {
		if c, err := d.credential(file, now); err != nil {
			d.fail("credential", fmt.Errorf("%s: %w", file, err))
		} else {
			d.ok("credential", "%s: of %s, until %s", file, c.Authority(),
				c.Expires().UTC().Format(time.RFC3339))
		}
	}
}

// credential reads a credential, and tells why nobody would believe it.
func (d *doctor) credential(file string, now time.Time) (*identity.Credential, error) {
	text, err := textfile.Read(file)
	if err != nil {
		return nil, err
	}
	c, err := identity.ParseCredentialText(text)
	if err == nil {
		err = c.VerifySignature()
	}
	if err != nil {
		return nil, invalid(err)
	}
	if d.self != "" && c.Subject().String() != d.self {
		return nil, invalid(fmt.Errorf("it is about %s, and this side is %s", c.Subject(), d.self))
	}
	if err := daemon.CheckTime(c, now); err != nil {
		return nil, advise(invalid(err), "compare the clock with another one; if it is right, have a "+
			"new credential issued: sp credential issue")
	}
	return c, nil
}

func (d *doctor) examineLists() {
	t, friends := d.config.Trust, friendsOf(config.Config{Node: d.config})
	lists := slices.Concat(t.AllowFiles, t.DenyFiles, friends)
	for _, file := range lists {
		if err := checkList(file); err != nil {
			d.fail("list", err)
		} else {
			d.ok("list", "%s can be read", file)
		}
	}
}

func (d *doctor) examineDisk() {
	folders, err := daemon.WritesIn(d.config)
	if err != nil {
		d.warn("disk", err)
		return
	}
	full := daemon.CheckSpace(folders)
	for _, err := range full {
		d.fail("disk", advise(err, "make room: keys that far ends have rotated, and tickets, cannot be "+
			"remembered, and whoever comes with one is refused"))
	}
	if len(full) == 0 {
		slices.Sort(folders)
		d.ok("disk", "there is room in %s", strings.Join(slices.Compact(folders), ", "))
	}
}

// examineProcesses asks this user's processes what is wrong with them.
func (d *doctor) examineProcesses(alone bool) {
	report := d.warn
	if alone {
		report = d.fail
	}
	ctx, cancel := context.WithTimeout(d.call.ctx, d.timeout)
	defer cancel()
	all := takeSample(ctx, control.Find()).processes
	for _, p := range all {
		name := fmt.Sprintf("process %d", p.PID)
		if p.Error != "" {
			report(name, errors.New(p.Error))
			continue
		}
		wrong := slices.Clone(p.Trouble)
		if p.Stopping {
			d.warn(name, errors.New("it is stopping"))
			continue
		}
		for _, portal := range p.Portals {
			wrong = append(wrong, wrongWith(portal)...)
		}
		for _, text := range wrong {
			report(name, errors.New(text))
		}
		if len(wrong) == 0 {
			d.ok(name, "%s", whatRuns(p))
		}
	}
	if len(all) == 0 {
		d.skip("processes", "no process of this user's was found")
	}
}

// wrongWith says what is wrong with a portal.
func wrongWith(p daemon.PortalReport) (all []string) {
	name := titleOf(p)
	switch {
	case !p.Ready:
		all = append(all, name+": not ready: "+cmp.Or(p.Error, "nothing is known yet"))
	case p.Error != "":
		all = append(all, name+": "+p.Error)
	}
	for _, path := range p.Paths {
		if !path.Up && path.Error != p.Error {
			all = append(all, fmt.Sprintf("%s: the path %s is down: %s", name, path.Route,
				cmp.Or(path.Error, "nothing is known yet")))
		}
	}
	for _, c := range p.Claims {
		if !c.Held && c.Error != p.Error {
			all = append(all, fmt.Sprintf("%s: the name %s at %s is not held: %s", name, c.Name, c.Relay,
				cmp.Or(c.Error, "nothing is known yet")))
		}
	}
	return all
}

func titleOf(p daemon.PortalReport) string { return string(p.Kind) + " " + p.Name }

// whatRuns names the portals of a process.
func whatRuns(p processStatus) string {
	var all []string
	for _, portal := range p.Portals {
		all = append(all, titleOf(portal))
	}
	return cmp.Or(strings.Join(all, ", "), "it is up") + ": ready"
}
