package daemon

import (
	"errors"
	"io/fs"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
)

// selfFiles say who a configuration's node is.
type selfFiles struct {
	key string // which file has its key

	// owner is the file that names its user, whom it trusts in place of itself; empty if others
	// are named. It need not be there yet.
	owner string
}

// filesOf returns what says who the node of a configuration is.
func filesOf(c config.Config) (selfFiles, error) {
	key, err := c.KeyFile()
	var owner string
	if err == nil && c.TrustsOwner() {
		owner, err = identity.PublicPath()
	}
	if err != nil {
		return selfFiles{}, &Error{Problem: NoKeyPlace, Err: err}
	}
	return selfFiles{key, owner}, nil
}

// trustOwner has the site trust its user's own identity in place of its own, which nobody else has.
// The user's key file may have been copied here, and nothing else been done: then it says who that
// is. It is told of by a file that can be read without the key, also later on; where that cannot be
// written, what the key file says now is all there is.
func (s *site) trustOwner() {
	owner, err := identity.PublishOwn()
	switch {
	case errors.Is(err, fs.ErrNotExist) && owner.IsZero():
	case err != nil && owner.IsZero():
		s.logger.Warn("the user's own identity is not read", "error", err)
	case err != nil:
		s.logger.Info("the user's own identity is trusted as it is now", "error", err)
		s.trust.Allow = append(s.trust.Allow, owner)
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
	if owners := s.main.policy.Allowed(); len(owners) > 0 {
		s.logger.Info("this user's own identity may claim names, since nobody else is named",
			"identifier", owners[0], "file", s.owner)
		return
	}
	err := &Error{Problem: NoClaimants, Err: errors.New("nobody may claim a name yet")}
	more := []any{"file", s.owner}
	if s.options.Hint != nil {
		more = append(more, "hint", s.options.Hint(err))
	}
	s.logger.Warn(err.Error(), more...)
}
