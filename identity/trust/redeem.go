package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/printable"
)

// Beside the allow file that redeemed tickets go to there is a folder, the file's name
// and ".spent". It holds a file for each ticket that is spent, named by when the ticket
// expires and its serial number:
//
//	<unix seconds>-<32 hexadecimal digits>
//
// Creating that file is what spends a ticket: the system does it once only, also when
// two processes try, and it is on the disk before anybody is trusted for it. What it
// says inside is for people.
//
// One file may have several names, and one name lead to several files, one after the other: where
// the allow file is a symbolic link there are two folders, and a ticket that is spent in either of
// them is spent.
const spentSuffix = ".spent"

// spentFolders returns the folders of an allow file: the one that all who share the file have, by
// whatever name, first.
func spentFolders(allowFile string) []string {
	named := allowFile + spentSuffix
	info, err := os.Lstat(allowFile)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return []string{named}
	}
	real, err := filepath.EvalSymlinks(allowFile)
	if err != nil {
		return []string{named}
	}
	return []string{real + spentSuffix, named}
}

// Spent says by whom a ticket was spent.
type Spent struct {
	Ticket *identity.Ticket
	By     *identity.Peer

	// LetIn tells whether the peer is let in for it. Else it is trusted anyway, or denied, and
	// the ticket lets nobody in any more.
	LetIn bool
}

// takesTicket reports whether a peer presents a ticket where tickets are redeemed.
func (p *Policy) takesTicket(peer *identity.Peer) bool {
	return p.issuer != nil && proved(peer) && peer.Ticket != nil
}

// acceptTicket decides about a peer with a ticket, after the rest has led to d and reason. A ticket
// is worth nothing once it has been shown: one that its bearer kept, because it was trusted by
// something else, would bring it back when that is taken away.
func (p *Policy) acceptTicket(
	peer *identity.Peer, d Decision, reason error, now time.Time,
) (Decision, error) {
	if reason == nil || p.denied(p.lists.Load(), peer.Identifier()) != nil {
		if err := p.use(peer, now); err != nil {
			return Decision{}, join(reason, err)
		}
		return d, reason
	}
	redeemed, refused := p.Redeem(peer, now)
	if refused != nil {
		return Decision{}, join(reason, refused)
	}
	return redeemed, nil
}

// Redeem lets a peer in for the ticket that it presents: it puts the peer's Identifier into
// the first allow file, reads the lists again, and decides by them. From then on the ticket
// is worth nothing. [Policy.Accept] calls Redeem where Check refuses; Redeem itself only
// looks whether the peer is in an allow file already.
//
// It writes two files. The first says that the ticket is spent; it is on the disk before
// anybody is trusted. The second is the allow file; if it cannot be written, the ticket is
// gone all the same. The error is the reason; it may be [ErrSpent], [identity.ErrExpired],
// [ErrOlderHistory] or [ErrForkedHistory].
func (p *Policy) Redeem(peer *identity.Peer, now time.Time) (Decision, error) {
	if !p.takesTicket(peer) || p.denied(p.lists.Load(), peer.Identifier()) != nil {
		return Decision{}, errors.New("no ticket that is redeemed here")
	}
	if err := p.checkTicket(peer.Ticket, now); err != nil {
		return Decision{}, err
	}
	if err := p.known.Check(peer.History); err != nil {
		return Decision{}, join(err, p.use(peer, now))
	}
	if err := p.letIn(peer, now); err != nil {
		return Decision{}, err
	}
	return p.anchored(p.lists.Load(), claimOf(peer), As{}, now) // it is in the list, whatever it is
}

// use spends the ticket of a peer that is not let in for it. One that is not good, or has been
// spent before, is no error; one that cannot be spent is.
func (p *Policy) use(peer *identity.Peer, now time.Time) error {
	t := peer.Ticket
	if p.checkTicket(t, now) != nil {
		return nil
	}
	err := spend(p.allowFiles[0].path, t, "shown by "+peer.Identifier().String(), now)
	if errors.Is(err, ErrSpent) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ticket %x cannot be spent: %w", t.Serial(), err)
	}
	p.tellSpent(peer, false)
	return nil
}

func (p *Policy) tellSpent(by *identity.Peer, letIn bool) {
	if p.onSpent != nil {
		p.onSpent(Spent{Ticket: by.Ticket, By: by, LetIn: letIn})
	}
}

// checkSpentFolder refuses to redeem tickets where others can make them good again.
func (p *Policy) checkSpentFolder() error {
	if p.issuer == nil {
		return nil
	}
	for _, dir := range spentFolders(p.allowFiles[0].path) {
		if err := atomicfile.CheckDeciding(dir); err != nil {
			return fmt.Errorf("spent tickets: %w", err)
		}
	}
	return nil
}

// TryRedeem tells why no ticket could be redeemed here although that is meant, or returns nil: the
// first allow file, or what remembers the spent ones beside it, cannot be written.
func (p *Policy) TryRedeem() error {
	if p.issuer == nil {
		return nil
	}
	file := p.allowFiles[0].path
	err := atomicfile.Try(file)
	for _, dir := range spentFolders(file) {
		if err == nil {
			err = trySpend(dir)
		}
	}
	if err != nil {
		return fmt.Errorf("allow file %s: %w", file, err)
	}
	return nil
}

// trySpend tells why nothing could be marked as spent in a folder, which need not be there yet.
func trySpend(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return atomicfile.Try(dir)
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", dir)
	}
	return atomicfile.Try(filepath.Join(dir, "0-0"))
}

// RevokeTicket spends a ticket that was made for the outlet with an allow file, so that it lets
// nobody in. That it was spent before is [ErrSpent].
func RevokeTicket(allowFile string, t *identity.Ticket, now time.Time) error {
	if err := checkList(allowFile); err != nil {
		return fmt.Errorf("allow file %s: %w", allowFile, err)
	}
	if err := spend(allowFile, t, "revoked", now); err != nil {
		return fmt.Errorf("ticket %x: %w", t.Serial(), err)
	}
	return nil
}

// checkTicket checks everything but whether the ticket is spent.
func (p *Policy) checkTicket(t *identity.Ticket, now time.Time) error {
	err := t.Verify(p.issuer(), now)
	if err == nil && p.leadsHere != nil {
		err = p.leadsHere(t.Route())
	}
	if err != nil {
		return fmt.Errorf("ticket %x: %w", t.Serial(), err)
	}
	return nil
}

// letIn spends a peer's ticket and puts the peer into the first allow file.
func (p *Policy) letIn(peer *identity.Peer, now time.Time) error {
	p.redeeming.Lock()
	defer p.redeeming.Unlock()
	t, bearer := peer.Ticket, peer.Identifier()
	_ = p.reloadAllowed() // its errors are told by Poll
	if _, ok := p.lists.Load().allow[bearer]; ok {
		return p.use(peer, now) // another ticket was redeemed for it a moment ago
	}
	file := p.allowFiles[0].path
	if err := checkList(file); err != nil {
		return fmt.Errorf("ticket %x cannot be redeemed: allow file %s: %w",
			t.Serial(), file, err)
	}
	if err := spend(file, t, "redeemed by "+bearer.String(), now); err != nil {
		return fmt.Errorf("ticket %x: %w", t.Serial(), err)
	}
	p.tellSpent(peer, true)
	comment := fmt.Sprintf("# ticket %x, redeemed %s", t.Serial(), now.UTC().Format(time.RFC3339))
	if err := AddToAllowFile(file, bearer, comment); err != nil {
		return fmt.Errorf("ticket %x: %w", t.Serial(), err)
	}
	return p.reloadAllowed()
}

// checkList tells whether the file is a list that can be added to.
func checkList(path string) error {
	b, _, err := atomicfile.ReadDeciding(path, MaxListFile)
	if err != nil {
		return err
	}
	_, err = parseList(string(b))
	return err
}

// spend writes to the disk that a ticket for an allow file is spent, and how. It gives ErrSpent if
// that has been done before.
func spend(allowFile string, t *identity.Ticket, how string, now time.Time) error {
	file := fmt.Sprintf("%d-%x", t.Expires().Unix(), t.Serial())
	folders := spentFolders(allowFile)
	for _, dir := range folders {
		if err := atomicfile.MakeDir(dir); err != nil {
			return err
		}
		if err := atomicfile.CheckDeciding(dir); err != nil {
			return err
		}
		path := filepath.Join(dir, file)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%w%s", ErrSpent, spentHow(path))
		}
	}
	text := fmt.Appendf(nil, "%s at %s\n", how, now.UTC().Format(time.RFC3339))
	for _, dir := range folders {
		if err := prune(dir, now, MaxSpent); err != nil {
			return err
		}
		path := filepath.Join(dir, file)
		err := atomicfile.Mark(path, text)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w%s", ErrSpent, spentHow(path))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// spentHow returns what a spent file says, for the log.
func spentHow(path string) string {
	b, _, err := atomicfile.Read(path, MaxListLine)
	text := strings.TrimSpace(string(b))
	if err != nil || text == "" || !printable.Is(text) {
		return ""
	}
	return ": " + text
}

// prune forgets the tickets that have expired long ago, and refuses to remember more than
// most others or more.
func prune(dir string, now time.Time, most int) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	kept := 0
	for _, f := range files {
		seconds, _, _ := strings.Cut(f.Name(), "-")
		expires, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil || now.Before(time.Unix(expires, 0).Add(spentKept)) {
			kept++
			continue
		}
		err = os.Remove(filepath.Join(dir, f.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if kept >= most {
		return fmt.Errorf("%d spent tickets have not expired yet, "+
			"and no more than that are kept", kept)
	}
	return nil
}
