package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/textfile"
)

// presented is what a node presents of itself: its identity and its credentials, as their files
// last had them. It is safe for concurrent use, but for refresh, which is for one at a time.
type presented struct {
	logger *slog.Logger // set once
	name   identity.Identifier
	key    *watchedFile
	tokens []*watchedFile

	mu          sync.Mutex // guards what follows
	id          *identity.Identity
	credentials [][]byte // in the order of tokens
	begins      []time.Time
	expiry      []time.Time
}

// newPresented reads the credentials in files, to be presented by id, whose key file is at path.
func newPresented(
	id *identity.Identity, path string, files []string, logger *slog.Logger,
) (*presented, error) {
	s := &presented{
		logger: logger, name: id.Identifier(), id: id, key: &watchedFile{path: path},
		credentials: make([][]byte, len(files)), expiry: make([]time.Time, len(files)),
		begins: make([]time.Time, len(files)),
	}
	s.key.stamp()
	for i, file := range files {
		s.tokens = append(s.tokens, &watchedFile{path: file})
		s.tokens[i].stamp()
		if _, err := s.readCredential(i); err != nil {
			return nil, err
		}
	}
	s.warnExpired(time.Now())
	return s, CheckProof(id.History(), s.credentials)
}

// identity is the node's identity, with the key it has now.
func (s *presented) identity() *identity.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// list returns the credentials.
func (s *presented) list() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.credentials...)
}

// refresh reads the files that have changed, or all of them, and reports whether there is
// something new to present. What cannot be read is logged, and stays as it was.
func (s *presented) refresh(all bool) (changed bool) {
	if s.key.take(all, s.logger, s.readKey) {
		s.logger.Info("the identity has a new key",
			"file", s.key.path, "changes", s.identity().History().Len())
		changed = true
	}
	for i, f := range s.tokens {
		if f.take(all, s.logger, func() (bool, error) { return s.readCredential(i) }) {
			s.logger.Info("new credential", "file", f.path, "expires", s.expiresAt(i))
			changed = true
		}
	}
	s.warnExpired(time.Now())
	return changed
}

func (s *presented) readKey() (changed bool, err error) {
	id, err := identity.Load(s.key.path)
	if err != nil {
		return false, err
	}
	if id.Identifier() != s.name {
		return false, fmt.Errorf(
			"identity file %s: it is another identity now: restart to use it", s.key.path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := CheckProof(id.History(), s.credentials); err != nil {
		return false, fmt.Errorf("identity file %s: %w", s.key.path, err)
	}
	changed = !bytes.Equal(id.History().Bytes(), s.id.History().Bytes())
	s.id = id
	return changed, nil
}

func (s *presented) readCredential(i int) (changed bool, err error) {
	path := s.tokens[i].path
	c, err := loadCredential(path)
	if err == nil && c.Subject() != s.name {
		err = fmt.Errorf("it is about %s, and this side is %s", c.Subject(), s.name)
	} else if err == nil {
		err = c.VerifySignature()
	}
	if err != nil {
		err = fmt.Errorf("credential file %s: %w", path, err)
		if c != nil { // it can be read, and says what is not so
			err = &Error{Problem: NotBelieved, Err: err}
		}
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.credentials)
	all[i] = c.Bytes()
	if err := CheckProof(s.id.History(), all); err != nil {
		return false, fmt.Errorf("credential file %s: %w", path, err)
	}
	changed = !bytes.Equal(c.Bytes(), s.credentials[i])
	s.credentials[i], s.begins[i], s.expiry[i] = c.Bytes(), c.NotBefore(), c.Expires()
	return changed, nil
}

func loadCredential(path string) (*identity.Credential, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, err
	}
	return identity.ParseCredentialText(text)
}

func (s *presented) expiresAt(i int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry[i]
}

func (s *presented) beginsAt(i int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begins[i]
}

// warnExpired logs, once, that a credential has expired, or is not valid yet.
func (s *presented) warnExpired(now time.Time) {
	for i, f := range s.tokens {
		begins, expires := s.beginsAt(i), s.expiresAt(i)
		if early := now.Before(begins); early != f.early {
			if f.early = early; early {
				s.logger.Warn("the credential is not valid yet: if this machine's clock is slow, set it",
					"file", f.path, "begins", begins, "clock", now)
			}
		}
		if expired := !now.Before(expires); expired != f.expired {
			if f.expired = expired; expired {
				s.logger.Warn("the credential has expired: put a new one in its place",
					"file", f.path, "expired", expires, "clock", now)
			}
		}
	}
}
