package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/identity"
)

// shown is what a node shows of itself: its identity and its credentials, as their files last had them. It is safe for
// concurrent use.
type shown struct {
	logger *slog.Logger // set once
	name   identity.Identifier
	key    *watchedFile
	tokens []*watchedFile

	mu          sync.Mutex // guards what follows
	id          *identity.Identity
	credentials [][]byte // in the order of tokens
	expiry      []time.Time
}

// newShown reads the credentials in files, to be shown by id, whose key file is at path.
func newShown(id *identity.Identity, path string, files []string, logger *slog.Logger) (*shown, error) {
	s := &shown{
		logger: logger, name: id.Identifier(), id: id, key: &watchedFile{path: path},
		credentials: make([][]byte, len(files)), expiry: make([]time.Time, len(files)),
	}
	s.key.stamp()
	for i, file := range files {
		s.tokens = append(s.tokens, &watchedFile{path: file})
		s.tokens[i].stamp()
		if _, err := s.readCredential(i); err != nil {
			return nil, err
		}
	}
	s.tellExpired(time.Now())
	return s, nil
}

// identity is the node's identity, with the key it has now.
func (s *shown) identity() *identity.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// show returns the credentials.
func (s *shown) show() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.credentials...)
}

// refresh reads the files that have changed, or all of them, and reports whether there is something new to show. What
// cannot be read is logged, and stays as it was.
func (s *shown) refresh(all bool) (changed bool) {
	if s.key.take(all, s.logger, s.readKey) {
		s.logger.Info("the identity has a new key", "file", s.key.path, "changes", s.identity().History().Len())
		changed = true
	}
	for i, f := range s.tokens {
		if f.take(all, s.logger, func() (bool, error) { return s.readCredential(i) }) {
			s.logger.Info("new credential", "file", f.path, "expires", s.expiresAt(i))
			changed = true
		}
	}
	s.tellExpired(time.Now())
	return changed
}

func (s *shown) readKey() (changed bool, err error) {
	id, err := identity.Load(s.key.path)
	if err != nil {
		return false, err
	}
	if id.Identifier() != s.name {
		return false, fmt.Errorf("identity file %s: it is another identity now: restart to use it", s.key.path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = !bytes.Equal(id.History().Bytes(), s.id.History().Bytes())
	s.id = id
	return changed, nil
}

func (s *shown) readCredential(i int) (changed bool, err error) {
	path := s.tokens[i].path
	c, err := loadCredential(path)
	if err == nil && c.Subject() != s.name {
		err = fmt.Errorf("it is about %s, and this side is %s", c.Subject(), s.name)
	}
	if err == nil {
		err = c.VerifySignature()
	}
	if err != nil {
		return false, fmt.Errorf("credential file %s: %w", path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = !bytes.Equal(c.Bytes(), s.credentials[i])
	s.credentials[i], s.expiry[i] = c.Bytes(), c.Expires()
	return changed, nil
}

func loadCredential(path string) (*identity.Credential, error) {
	text, err := readText(path)
	if err != nil {
		return nil, err
	}
	return identity.ParseCredentialText(text)
}

func (s *shown) expiresAt(i int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry[i]
}

// tellExpired logs, once, that a credential is worth nothing any more.
func (s *shown) tellExpired(now time.Time) {
	for i, f := range s.tokens {
		expires := s.expiresAt(i)
		if expired := !now.Before(expires); expired != f.expired {
			if f.expired = expired; expired {
				s.logger.Warn("the credential has expired: put a new one in its place", "file", f.path, "expired", expires)
			}
		}
	}
}

// watchedFile is a file that is read again when it changes. It belongs to one goroutine.
type watchedFile struct {
	path    string
	info    fs.FileInfo
	settled bool   // it had been left alone for a while when it was stamped
	failing string // what was wrong at the last look
	told    string // what has been logged
	expired bool   // what is in it
}

// settleTime is how long a file must have been left alone before it is believed to have changed if its time has.
const settleTime = 2 * time.Second

// stamp takes note of the file as it is, and reports whether it may be another than at the last stamp.
func (f *watchedFile) stamp() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		f.info = nil
		return true
	}
	same := f.settled && f.info != nil && os.SameFile(f.info, now) && f.info.Size() == now.Size() && f.info.ModTime().Equal(now.ModTime())
	f.info, f.settled = now, time.Since(now.ModTime()) > settleTime
	return !same
}

// take reads the file if it may have changed, or must, and reports what read does. An error is logged when it is there
// twice in a row, for the file may be half written, and not again before it is another.
func (f *watchedFile) take(must bool, logger *slog.Logger, read func() (bool, error)) bool {
	if !f.stamp() && !must && f.failing == "" {
		return false
	}
	changed, err := read()
	if err == nil {
		f.failing, f.told = "", ""
		return changed
	}
	text := err.Error()
	if (must || f.failing == text) && f.told != text {
		logger.Error("not read, and the one before stays in force", "error", text)
		f.told = text
	}
	f.failing = text
	return false
}

// watch keeps a role's files and what was read from them the same, until the returned function is called: it looks at
// them several times a second, and on SIGHUP, if hangup is set, reads them all.
func (r *role) watch(hangup bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	if hangup {
		signal.Notify(signals, syscall.SIGHUP)
	}
	var task sync.WaitGroup
	task.Go(func() { r.watchFiles(ctx, signals) })
	return func() {
		signal.Stop(signals)
		cancel()
		task.Wait()
	}
}

func (r *role) watchFiles(ctx context.Context, hangup <-chan os.Signal) {
	ticker := time.NewTicker(identity.DefaultPollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			r.logger.Info("reading all files again")
			r.reread((*identity.Policy).Reload, true)
		case <-ticker.C:
			r.reread((*identity.Policy).Poll, false)
		}
	}
}

// reread reads the lists, and what this side shows of itself, which the far ends hear of at once.
func (r *role) reread(lists func(*identity.Policy) error, all bool) {
	for _, p := range r.policies {
		before := p.Changed()
		if err := lists(p); err != nil {
			for _, line := range lines(err) {
				r.logger.Error("list not read", "error", line)
			}
		}
		select {
		case <-before:
			r.logger.Info("the lists have changed")
		default:
		}
	}
	if r.shown.refresh(all) {
		if err := seeSelf(r.trust.Seen, r.shown.identity(), r.logger); err != nil {
			r.logger.Error("own key", "error", err)
		}
		for _, n := range r.nodes {
			n.Renew()
		}
	}
}

// lines takes joined errors apart.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }

// maxText bounds a file, or what comes on stdin, that holds one word.
const maxText = 64 << 10

// readText reads a small file of text.
func readText(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", unwrapPath(err)
	}
	if info.Size() > maxText {
		return "", fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxText)
	}
	b, err := os.ReadFile(path)
	return string(b), unwrapPath(err)
}

// unwrapPath drops the path from an error, for callers that name it themselves.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
