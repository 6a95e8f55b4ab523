package trust

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/atomicfile"
)

// A list that need not be there yet names nobody until it is, and is like the others from then on.
func TestAllowLater(t *testing.T) {
	for name, look := range map[string]func(*Policy) error{
		"Reload": (*Policy).Reload, "Poll": (*Policy).Poll,
		"nobody": func(*Policy) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, me := newIdentity(t, "a"), newIdentity(t, "b"), newIdentity(t, "me")
			path := filepath.Join(t.TempDir(), "later")
			p := newPolicy(t, Config{Self: me.Identifier(), AllowLater: []string{path}})
			might := func(id *identity.Identity) error {
				t.Helper()
				return p.MightTrust(claimOf(peerOf(id)), anInlet, t0)
			}
			for _, id := range []*identity.Identity{a, b} {
				wantErr(t, might(id), ErrNotTrusted, "no other is allowed")
			}
			if err := might(me); err != nil {
				t.Error(err)
			}
			if err := p.Poll(); err != nil || len(p.Allowed()) > 0 {
				t.Errorf("%v, %v", p.Allowed(), err)
			}
			changed := p.Changed()
			write(t, path, a.Identifier().String()+"\n")
			if err := look(p); err != nil {
				t.Fatal(err)
			}
			if err := might(a); err != nil {
				t.Error(err)
			}
			select {
			case <-changed:
			default:
				t.Error("the change was not told")
			}
			d, err := p.Accept(peerOf(a), anInlet, t0)
			if err != nil || d.Anchor != AnchorAllowFile || d.Where != path+":1" {
				t.Errorf("%+v, %v", d, err)
			}
			wantErr(t, might(b), ErrNotTrusted, "not among the 1 allowed")

			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			wantErr(t, p.Poll(), os.ErrNotExist, "the list read before stays in force")
			if all := p.Allowed(); len(all) != 1 || all[0] != a.Identifier() {
				t.Errorf("%v are allowed", all)
			}
			write(t, path, b.Identifier().String()+"\n")
			if err := look(p); err != nil || might(b) != nil || might(a) == nil {
				t.Errorf("%v, a: %v, b: %v", err, might(a), might(b))
			}
		})
	}
}

// A list that comes later, and is not to be believed, is an error like another, and lets nobody in.
func TestAllowLaterSpoilt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	a := newIdentity(t, "a")
	path := filepath.Join(t.TempDir(), "later")
	config := Config{Self: newIdentity(t, "me").Identifier(), AllowLater: []string{path}}
	p := newPolicy(t, config)
	write(t, path, a.Identifier().String()+"\n")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := p.MightTrust(claimOf(peerOf(a)), anInlet, t0)
		wantErr(t, err, ErrNotTrusted, "no other is allowed")
	}
	wantErr(t, p.Poll(), atomicfile.ErrOthersWrite, "allow file "+path)
	if _, err := NewPolicy(config); err == nil {
		t.Error("a policy begins with it")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.MightTrust(claimOf(peerOf(a)), anInlet, t0); err != nil {
		t.Error(err)
	}
	if err := p.Poll(); err != nil {
		t.Error(err)
	}
}

// Those who are named stand in order, and who is denied is not among them.
func TestAllowed(t *testing.T) {
	a, b, c := newIdentity(t, "a"), newIdentity(t, "b"), newIdentity(t, "c")
	file := writeTemp(t, "allow", b.Identifier().String()+"\n"+c.Identifier().String()+"\n")
	p := newPolicy(t, Config{
		Allow: []identity.Identifier{a.Identifier()}, AllowFiles: []string{file},
		Deny: []identity.Identifier{c.Identifier()},
	})
	all := p.Allowed()
	if len(all) != 2 || all[0].String() > all[1].String() || !p.Names(all[0]) || !p.Names(all[1]) {
		t.Errorf("%v are allowed", all)
	}
	if by := p.AllowedBy(file); len(by) != 1 || by[0] != b.Identifier() {
		t.Errorf("%v are allowed by the file", by)
	}
	if by := p.AllowedBy("elsewhere"); len(by) > 0 {
		t.Errorf("%v are allowed by another one", by)
	}
}
