package daemon

import (
	"errors"
	"fmt"
	"os"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/transport"
)

// What is needed later is tried at the start. What a node cannot do without is an error there: its
// key, its lists, where it listens, what it presents, a --seen file that was named. What it can do
// without is logged, once, with what to do: that is here, but for known histories without a place,
// which openSeen tries.

// tryOut logs what will not work later although c asks for it.
func (s *site) tryOut(c config.Config) {
	if len(c.Outlets) > 0 {
		if err := s.main.policy.TryRedeem(); err != nil {
			s.logger.Warn("no ticket can be redeemed: it takes an --allow-file, the first if there are "+
				"several, that can be written", "error", err)
		}
	}
	s.tryOwner()
	if len(c.Outlets) > 0 && s.friends != "" && len(s.main.policy.AllowedBy(s.friends)) == 0 {
		s.logger.Info("so far nobody is let in but who has this same key: introduce another machine "+
			"with sp pair, or name somebody with --allow", "identifier", s.self.Identifier())
	}
	if c.ExpectsCopies() && !s.main.policy.Names(s.self.Identifier()) {
		s.logger.Info("this side's own identity is not in what it allows: whoever comes with a copy of "+
			"this key file is refused; add it with --allow or to an --allow-file if he is not to be",
			"identifier", s.self.Identifier())
	}
	for _, o := range c.Outlets {
		targets, _ := o.AllTargets() // they have been read before
		for _, t := range targets {
			if err := tryTarget(t); err != nil {
				s.logger.Warn("the target cannot be reached", "target", t.Text, "error", err)
			}
		}
	}
	for _, err := range CheckSpace(writesIn(c)) {
		s.logger.Warn("what has to be remembered cannot be: make room", "error", err)
	}
	files, known := maxOpenFiles()
	if known {
		for _, err := range fileShortage(c, files) {
			s.logger.Warn("too few files may be open for a limit: raise them (ulimit -n, or "+
				"LimitNOFILE= of systemd), or lower it", "error", err)
		}
	}
}

// tryTarget tells why nothing will ever listen at a target as it is. That nobody does so yet is no
// reason.
func tryTarget(t config.Target) error {
	if t.HasNoAddress() {
		return nil
	}
	a, err := t.Address, transport.MissingInterface(t.Address)
	switch scheme := transport.Scheme(a); {
	case err != nil:
		return err
	case (scheme == "tcp" || scheme == "udp") && a.Port == 0:
		return errors.New("nobody listens at port 0")
	case scheme != "unix":
		return nil
	}
	info, err := os.Stat(a.Name)
	if err != nil || info.Mode()&os.ModeSocket != 0 {
		return nil
	}
	return errors.New("that file is no socket")
}

// fileShortage tells which limits that were asked for take more files than a process may open.
func fileShortage(c config.Config, files int) []error {
	l := c.Node.Limits
	var all []error
	for _, asked := range []struct {
		name   string
		number int
		each   int // files
	}{
		{"max-connections", l.Connections, filesPerConnection},
		{"max-per-identity", l.PerIdentity, filesPerConnection},
		{"max-per-source", l.PerSource, filesPerConnection},
		{"max-sessions", l.Sessions, 1},
		{"max-unauthenticated", l.Unauthenticated, 1},
	} {
		if takes := asked.number * asked.each; takes > files-rest(files) {
			all = append(all, fmt.Errorf("--%s %d takes %d files beside %d for the rest, and this process "+
				"may open %d", asked.name, asked.number, takes, rest(files), files))
		}
	}
	return all
}
