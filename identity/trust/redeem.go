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
// and ".spent". It holds a file for each ticket that has been redeemed, named by when the
// ticket expires and its serial number:
//
//	<unix seconds>-<32 hexadecimal digits>
//
// Creating that file is what redeems a ticket: the system does it once only, also when
// two processes try, and it is on the disk before anybody is trusted for it. What it
// says inside is for people.
const spentSuffix = ".spent"

// mayRedeem reports whether a ticket may let peer in.
func (p *Policy) mayRedeem(peer *identity.Peer) bool {
	return p.issuer != nil && proved(peer) && peer.Ticket != nil &&
		p.denied(p.lists.Load(), peer.Identifier()) == nil
}

// Redeem lets a peer in for the ticket that it presents: it puts the peer's Identifier into
// the first allow file, reads the lists again, and decides by them. From then on the ticket
// is worth nothing. [Policy.Accept] calls Redeem where Check refuses; Redeem itself only
// looks whether the peer is in an allow file already, in which case the ticket is kept.
//
// It writes two files. The first says that the ticket is spent; it is on the disk before
// anybody is trusted. The second is the allow file; if it cannot be written, the ticket is
// gone all the same. The error is the reason; it may be [ErrSpent], [identity.ErrExpired],
// [ErrOlderHistory] or [ErrForkedHistory].
func (p *Policy) Redeem(peer *identity.Peer, now time.Time) (Decision, error) {
	if !p.mayRedeem(peer) {
		return Decision{}, errors.New("no ticket that is redeemed here")
	}
	t := peer.Ticket
	err := p.checkTicket(t, now)
	if err == nil {
		err = p.known.Check(peer.History)
	}
	if err == nil {
		err = p.letIn(peer.Identifier(), t, now)
	}
	if err != nil {
		return Decision{}, err
	}
	return p.anchored(p.lists.Load(), claimOf(peer), As{}, now) // it is in the list, whatever it is
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

// letIn spends a ticket and puts its bearer into the first allow file.
func (p *Policy) letIn(bearer identity.Identifier, t *identity.Ticket, now time.Time) error {
	p.redeeming.Lock()
	defer p.redeeming.Unlock()
	_ = p.Reload() // its errors are told by Poll
	if _, ok := p.lists.Load().allow[bearer]; ok {
		return nil // another ticket was redeemed for it a moment ago
	}
	file := p.allowFiles[0].path
	if err := checkList(file); err != nil {
		return fmt.Errorf("ticket %x cannot be redeemed: allow file %s: %w",
			t.Serial(), file, err)
	}
	if err := spend(file+spentSuffix, t, bearer, now); err != nil {
		return fmt.Errorf("ticket %x: %w", t.Serial(), err)
	}
	comment := fmt.Sprintf("# ticket %x, redeemed %s", t.Serial(), now.UTC().Format(time.RFC3339))
	if err := addToAllowFile(file, bearer, comment); err != nil {
		return fmt.Errorf("ticket %x: %w", t.Serial(), err)
	}
	return p.Reload()
}

// checkList tells whether the file is a list that can be added to.
func checkList(path string) error {
	b, _, err := atomicfile.Read(path, MaxListFile)
	if err != nil {
		return err
	}
	_, err = parseList(string(b))
	return err
}

// spend writes to the disk that a ticket has been redeemed. It gives ErrSpent if that has
// been done before.
func spend(dir string, t *identity.Ticket, by identity.Identifier, now time.Time) error {
	if err := atomicfile.MakeDir(dir); err != nil {
		return err
	}
	if err := prune(dir, now, MaxSpent); err != nil {
		return err
	}
	path := filepath.Join(dir, fmt.Sprintf("%d-%x", t.Expires().Unix(), t.Serial()))
	text := fmt.Appendf(nil, "by %s at %s\n", by, now.UTC().Format(time.RFC3339))
	err := atomicfile.Mark(path, text)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w%s", ErrSpent, spentBy(path))
	}
	return err
}

// spentBy returns what a spent file says, for the log.
func spentBy(path string) string {
	b, _, err := atomicfile.Read(path, MaxListLine)
	text := strings.TrimSpace(string(b))
	if err != nil || text == "" || !printable.Is(text) {
		return ""
	}
	return " " + text
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
		return fmt.Errorf("%d redeemed tickets have not expired yet, "+
			"and no more than that are kept", kept)
	}
	return nil
}
