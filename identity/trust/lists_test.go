package trust

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/filewatch"
)

// fileStory is a policy with an allow file and a deny file, and two peers.
type fileStory struct {
	*Policy
	t           *testing.T
	allow, deny string
	a, b        *identity.Identity
}

func newFileStory(t *testing.T) *fileStory {
	s := &fileStory{t: t, a: newIdentity(t, "a"), b: newIdentity(t, "b")}
	s.allow = writeTemp(t, "allow", s.a.Identifier().String()+"\n")
	s.deny = writeTemp(t, "deny", "# nobody\n")
	s.Policy = newPolicy(t, Config{AllowFiles: []string{s.allow}, DenyFiles: []string{s.deny}})
	return s
}

// trusts fails unless just those are trusted.
func (s *fileStory) trusts(a, b bool) {
	s.t.Helper()
	_, errA := s.Check(peerOf(s.a), anInlet, t0)
	_, errB := s.Check(peerOf(s.b), anInlet, t0)
	if (errA == nil) != a || (errB == nil) != b {
		s.t.Fatalf("trusted are a: %v, b: %v; want %v, %v", errA == nil, errB == nil, a, b)
	}
}

// changes fails unless do closes the channel of changes, or does not.
func (s *fileStory) changes(want bool, do func() error) error {
	s.t.Helper()
	changed := s.Changed()
	err := do()
	select {
	case <-changed:
		if !want {
			s.t.Error("a change was told that is none")
		}
	default:
		if want {
			s.t.Error("a change was not told")
		}
	}
	return err
}

// Both ways of reading the files again behave alike, but for what Poll leaves out: it looks twice
// before somebody is let in because a deny file does not name him any more.
func TestPolicyFiles(t *testing.T) {
	for name, reread := range map[string]func(*fileStory) error{
		"Reload": func(s *fileStory) error { return s.Reload() },
		"Poll":   func(s *fileStory) error { return errors.Join(s.Poll(), s.Poll()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFileStory(t)
			again := func() error { return reread(s) }
			ok := func(changed bool) {
				t.Helper()
				if err := s.changes(changed, again); err != nil {
					t.Fatal(err)
				}
			}
			s.trusts(true, false)
			ok(false)
			write(t, s.allow, s.b.Identifier().String()+"\n") // same size, same inode
			ok(true)
			s.trusts(false, true)
			write(t, s.allow, "# moved\n\n"+s.b.Identifier().String()+" with a comment\n")
			ok(false)
			if d, err := s.Check(peerOf(s.b), anInlet, t0); err != nil || d.Where != s.allow+":3" {
				t.Errorf("%+v, %v", d, err)
			}
			write(t, s.deny, s.b.Identifier().String()+"\n")
			ok(true)
			s.trusts(false, false)

			// One file is bad: it keeps its list, and the other is read all the same.
			write(t, s.allow, s.a.Identifier().String()+"\nnonsense\n")
			write(t, s.deny, "#\n")
			err := s.changes(true, again)
			wantErr(t, err, nil, "allow file "+s.allow+":2: identifier has 8 characters")
			wantErr(t, err, nil, "the list read before stays in force")
			s.trusts(false, true)

			// Both are gone: both lists stay.
			write(t, s.deny, s.a.Identifier().String()+"\n")
			write(t, s.allow, s.a.Identifier().String()+"\n"+s.b.Identifier().String()+"\n")
			ok(true)
			s.trusts(false, true)
			for _, f := range []string{s.allow, s.deny} {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
			err = s.changes(false, again)
			wantErr(t, err, os.ErrNotExist, "the list read before stays in force")
			wantErr(t, err, os.ErrNotExist, "deny file "+s.deny)
			s.trusts(false, true)

			// They come back.
			write(t, s.allow, s.a.Identifier().String()+"\n")
			write(t, s.deny, "\n")
			ok(true)
			s.trusts(true, false)
		})
	}
}

// Poll tells of an error once, and again when it is another or has been gone.
func TestPollTellsOnce(t *testing.T) {
	s := newFileStory(t)
	for range 2 {
		write(t, s.allow, "nonsense\n")
		wantErr(t, s.Poll(), nil, ":1:")
		for range 3 {
			if err := s.Poll(); err != nil {
				t.Fatalf("told again: %v", err)
			}
		}
		write(t, s.allow, "\nnonsense\n")
		wantErr(t, s.Poll(), nil, ":2:")
		write(t, s.allow, s.a.Identifier().String()+"\n")
		if err := s.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	s.trusts(true, false)
	write(t, s.allow, "x")
	_ = s.Reload()
	wantErr(t, s.Reload(), nil, ":1:")
}

// A file that somebody empties to write it anew does not lock everybody out meanwhile;
// one that stays empty does.
func TestPollOfEmptiedFile(t *testing.T) {
	s := newFileStory(t)
	for i := range 2 {
		write(t, s.allow, "")
		if err := s.changes(false, s.Poll); err != nil {
			t.Fatal(err)
		}
		s.trusts(true, i > 0)
		write(t, s.allow, s.a.Identifier().String()+"\n"+s.b.Identifier().String()+"\n")
		if err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.trusts(true, true)
	}
	write(t, s.allow, "")
	_ = s.changes(false, s.Poll)
	_ = s.changes(true, s.Poll)
	s.trusts(false, false)
}

// Nobody is let in because a deny file is in the middle of being written, however slowly, and
// whatever is done meanwhile. What is new in it counts at once.
func TestPollOfDenyFileBeingWritten(t *testing.T) {
	s := newFileStory(t)
	a, b := s.a.Identifier().String()+"\n", s.b.Identifier().String()+"\n"
	write(t, s.allow, a+b)
	write(t, s.deny, "# first\n"+a)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	s.trusts(false, true)
	for _, part := range []string{
		"", "# first\n", "# first of all\n", "# fir", "#", "", "#\n\n", "\n",
	} {
		write(t, s.deny, part)
		_ = s.changes(false, s.Poll)
		s.trusts(false, true)
	}
	write(t, s.deny, "# now b\n"+b)
	_ = s.changes(true, s.Poll)
	s.trusts(false, false)
	_ = s.changes(true, s.Poll) // that is all
	s.trusts(true, false)
	write(t, s.deny, "") // and this as well
	_ = s.changes(false, s.Poll)
	_ = s.changes(true, s.Poll)
	s.trusts(true, true)

	// Neither is it by a ticket, for which the allow file is read again.
	i := newInn(t)
	guest := newIdentity(t, "guest")
	write(t, i.allow, guest.Identifier().String()+"\n")
	write(t, i.deny, guest.Identifier().String()+"\n")
	if err := i.Reload(); err != nil {
		t.Fatal(err)
	}
	write(t, i.deny, "")
	other := newIdentity(t, "other")
	ticket := &identity.Peer{History: other.History(), Ticket: ticketOf(t, i.host)}
	if _, err := i.Redeem(ticket, t0); err != nil {
		t.Fatal(err)
	}
	_, err := i.Check(peerOf(guest), anInlet, t0)
	wantErr(t, err, ErrNotTrusted, "denied by")
}

// So it is with serial numbers of credentials.
func TestPollOfRevokedBeingWritten(t *testing.T) {
	authority, guest := newIdentity(t, "authority"), newIdentity(t, "guest")
	bad := issued(t, authority, guest.Identifier())
	file := writeTemp(t, "deny", "")
	p := newPolicy(t, Config{
		Authorities: []identity.Identifier{authority.Identifier()}, DenyFiles: []string{file},
	})
	if err := RevokeCredential(file, bad.Serial(), ""); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(read(t, file)), "", "#", ""} {
		write(t, file, text)
		if err := p.Poll(); err != nil {
			t.Fatal(err)
		}
		_, err := p.Check(peerOf(guest, bad), anInlet, t0)
		wantErr(t, err, ErrNotTrusted, "revoked by")
	}
	if err := p.Poll(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(peerOf(guest, bad), anInlet, t0); err != nil {
		t.Errorf("what was taken out for good: %v", err)
	}
}

// A file is read again only if something about it is different, once it has settled.
func TestPollReadsWhatChanged(t *testing.T) {
	s := newFileStory(t)
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	age := func(path string) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	// Just written: two writes within a tick of the clock look the same, but are not.
	info, err := os.Stat(s.allow)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.allow, s.b.Identifier().String()+"\n")
	if err := os.Chtimes(s.allow, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	_ = s.changes(true, s.Poll)
	s.trusts(false, true)
	write(t, s.allow, s.a.Identifier().String()+"\n")
	age(s.allow)
	if err := s.Poll(); err != nil {
		t.Fatal(err)
	}
	other := s.b.Identifier().String() + "\n"
	write(t, s.allow, other)
	age(s.allow) // all that is compared is as it was
	_ = s.changes(false, s.Poll)
	s.trusts(true, false)
	_ = s.changes(true, s.Reload)
	s.trusts(false, true)

	renamed := s.allow + ".new" // another inode, the same time and size
	write(t, renamed, s.a.Identifier().String()+"\n")
	age(renamed)
	if err := os.Rename(renamed, s.allow); err != nil {
		t.Fatal(err)
	}
	_ = s.changes(true, s.Poll)
	s.trusts(true, false)
}

const patience = 3 * time.Minute // only a hung test meets it

// TestPollAtIntervals does with a policy what a node does.
func TestPollAtIntervals(t *testing.T) {
	s := newFileStory(t)
	idle := newPolicy(t, Config{AllowAnyone: true})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	told := make(chan error, 10)
	go func() {
		ticker := time.NewTicker(filewatch.Interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			case <-ticker.C:
			}
			if err := s.Poll(); err != nil {
				told <- err
			}
			if err := idle.Poll(); err != nil {
				t.Errorf("a policy without files: %v", err)
			}
		}
	}()
	changed := s.Changed()
	if err := AddToAllowFile(s.allow, s.b.Identifier(), "b"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("a change was not noticed")
	}
	s.trusts(true, true)
	write(t, s.allow, "nonsense")
	select {
	case err := <-told:
		wantErr(t, err, nil, "allow:1: ")
	case <-time.After(patience):
		t.Fatal("an error was not told")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("polling ended with %v", err)
	}
}

// Checks go on while files are read; meant for the race detector.
func TestPolicyConcurrent(t *testing.T) {
	s := newFileStory(t)
	second := rotated(t, s.a, "second")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				_, _ = s.Accept(peerOf(s.a), anInlet, t0)
				_, _ = s.Accept(peerOf(second), anInlet, t0)
				<-closedOrNot(s.Changed())
				if i == 0 {
					write(t, s.allow, strings.Repeat(s.a.Identifier().String()+"\n", i+1))
				}
				_ = s.Poll()
			}
		})
	}
	wg.Wait()
}

func closedOrNot(c <-chan struct{}) <-chan struct{} {
	select {
	case <-c:
	default:
		done := make(chan struct{})
		close(done)
		return done
	}
	return c
}

// A credential whose serial number is in a deny file is not believed, and no other is touched.
func TestRevokedCredential(t *testing.T) {
	authority, guest := newIdentity(t, "authority"), newIdentity(t, "guest")
	bad := issued(t, authority, guest.Identifier())
	good, err := authority.Issue(rand.Reader, identity.Claims{
		Subject: guest.Identifier(), NotBefore: t0, Expires: t0.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := writeTemp(t, "deny", "")
	p := newPolicy(t, Config{
		Authorities: []identity.Identifier{authority.Identifier()}, DenyFiles: []string{file},
	})
	if _, err := p.Check(peerOf(guest, bad), anInlet, t0); err != nil {
		t.Fatal(err)
	}
	changed := p.Changed()
	for range 2 {
		if err := RevokeCredential(file, bad.Serial(), "# lost"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	_, err = p.Check(peerOf(guest, bad), anInlet, t0)
	wantErr(t, err, ErrNotTrusted, fmt.Sprintf("revoked by %s:1: its serial number is %x",
		file, bad.Serial()))
	if d, err := p.Check(peerOf(guest, bad, good), anInlet, t0); err != nil || d.Credential != good {
		t.Errorf("%+v, %v", d, err)
	}
	if got := string(read(t, file)); got != fmt.Sprintf("%x # lost\n", bad.Serial()) {
		t.Errorf("the file says %q", got)
	}
	// An allow file names no credentials.
	_, err = NewPolicy(Config{AllowFiles: []string{file}})
	wantErr(t, err, nil, file+":1: ")
	for _, text := range []string{"", "00", strings.Repeat("0", 33), strings.Repeat("A", 32)} {
		if _, err := ParseSerial(text); err == nil {
			t.Errorf("%q is a serial number", text)
		}
	}
}

// A list that others can write does not count: at the start it is an error, and later the one
// before stays in force.
func TestListThatOthersCanWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes")
	}
	friend := newIdentity(t, "friend")
	file := writeTemp(t, "allow", friend.Identifier().String()+"\n")
	p := newPolicy(t, Config{AllowFiles: []string{file}})
	write(t, file, newIdentity(t, "intruder").Identifier().String()+"\n")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	err := p.Reload()
	wantErr(t, err, atomicfile.ErrOthersWrite, "the list read before stays in force")
	if _, err := p.Check(peerOf(friend), anInlet, t0); err != nil {
		t.Error(err)
	}
	_, err = NewPolicy(Config{AllowFiles: []string{file}})
	wantErr(t, err, atomicfile.ErrOthersWrite, "chmod go-w "+file)
	// So it is with what is known of others, and with what is spent.
	seen := writeTemp(t, "seen", seenHeader+"\n")
	if err := os.Chmod(filepath.Dir(seen), 0o777); err != nil {
		t.Fatal(err)
	}
	_, err = OpenKnownHistories(seen)
	wantErr(t, err, atomicfile.ErrOthersWrite, filepath.Dir(seen))
	i := newInn(t)
	if err := os.Mkdir(i.allow+spentSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(i.allow+spentSuffix, 0o770); err != nil {
		t.Fatal(err)
	}
	_, err = NewPolicy(Config{
		AllowFiles: []string{i.allow}, TicketIssuer: func() *identity.History { return nil },
	})
	wantErr(t, err, atomicfile.ErrOthersWrite, i.allow+spentSuffix)
	guest := newIdentity(t, "guest")
	_, err = i.Accept(
		&identity.Peer{History: guest.History(), Ticket: ticketOf(t, i.host)},
		anInlet,
		t0,
	)
	wantErr(t, err, atomicfile.ErrOthersWrite, "ticket ")
	i.untouched("# guests\n")
}
