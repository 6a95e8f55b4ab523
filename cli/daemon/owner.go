package daemon

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
)

// selfFiles say who a configuration's node is.
type selfFiles struct {
	key string // which file has its key

	// owner is the file that names its user, whom it trusts beside itself; empty if others are
	// named. It need not be there yet.
	owner string

	// friends is the file that names its user's friends, whom it trusts as well; empty if others
	// are named. It need not be there yet.
	friends string
}

// filesOf returns what says who the node of a configuration is.
func filesOf(c config.Config) (selfFiles, error) {
	key, err := c.KeyFile()
	files := selfFiles{key: key}
	if err == nil && c.TrustsOwner() {
		files.owner, err = identity.PublicPath()
	}
	if err != nil {
		return selfFiles{}, &Error{Problem: NoKeyPlace, Err: err}
	}
	if c.TrustsFriends() {
		files.friends, _ = identity.FriendsPath() // where there is no place for them, there are none
	}
	return files, nil
}

// trustOwner has the site trust its user's own identity beside its own, which only this user's
// other relays have. Who that is stands in a file that is read without the key, also later on. It
// is made here as well, for the key file may have been copied to this machine, and nothing else
// been done. Where it cannot be made, there is what the key file says now.
func (s *site) trustOwner() {
	owner, err := identity.PublishOwn()
	switch {
	case errors.Is(err, fs.ErrNotExist) && owner.IsZero():
	case err != nil && owner.IsZero():
		s.logger.Warn("the user's own identity is not read", "error", err)
	case err != nil:
		s.logger.Info("the user's own identity is trusted as it is now", "error", err)
		s.trust.Allow = append(s.trust.Allow, owner, s.trust.Self)
		return
	}
	// What is not there when the process confines itself cannot be read later. Where it cannot be
	// made, nobody else will make it.
	_ = identity.MakePublicFolder()
	s.trust.AllowLater = []string{s.owner}
}

// tryOwner logs for whom the site's relays are if nobody has said so.
func (s *site) tryOwner() {
	if s.owner == "" {
		return
	}
	friends := s.main.policy.AllowedBy(s.friends)
	owners := slices.DeleteFunc(s.main.policy.Allowed(), func(id identity.Identifier) bool {
		return id == s.trust.Self || slices.Contains(friends, id)
	})
	if len(owners) > 0 {
		s.logger.Info("this user's own identity may claim names, since nobody else is named",
			"identifier", owners[0], "file", s.owner)
	}
	if len(friends) > 0 {
		s.logger.Info("this user's friends may claim names", "friends", len(friends),
			"file", s.friends)
	}
	if len(owners)+len(friends) > 0 {
		return
	}
	err := &Error{Problem: NoClaimants, Err: errors.New("nobody may claim a name yet")}
	more := []any{"file", s.owner}
	if s.options.Hint != nil {
		more = append(more, "hint", s.options.Hint(err))
	}
	// It is no warning: on one machine a relay may well be the first that its user starts.
	s.logger.Info(err.Error(), more...)
}
