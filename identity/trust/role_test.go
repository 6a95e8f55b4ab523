package trust

import (
	"errors"
	"strings"
	"testing"

	"github.com/secureportal/sp/identity"
)

// fleet is what an authority says of those who are in the table below.
var fleet = map[string][]string{
	"client":       {"role=inlet"},
	"own word":     {"role=db", "team=blue"}, // of the user's: it reserves nothing
	"plain":        nil,
	"outlet":       {"role=outlet", "relay-name=db"},
	"other outlet": {"role=outlet", "relay-name=web"},
	"both outlets": {"role=outlet", "relay-name=web,db"},
	"unnamed":      {"role=outlet"},
	"nobody":       {"relay-name="},
	"named word":   {"role=db", "relay-name=db"},
	"named client": {"role=inlet", "relay-name=db"},
	"relay":        {"role=relay"},
	"bridge":       {"role=bridge"},
	"named bridge": {"role=bridge", "relay-name=db"},
	"named relay":  {"role=relay", "relay-name=db"},
}

// roleRows says as what each of the fleet is trusted through the authority: as an inlet, as the
// outlet db, as the outlet web, as an outlet without a name, as a relay or bridge, as a caller, as
// a relay of the set.
const roleRows = `
	client        inlet  -   -    -  -     caller  -
	own_word      inlet  -   -    -  -     caller  -
	plain         inlet  -   -    -  -     caller  -
	outlet        -      db  -    -  -     caller  -
	other_outlet  -      -   web  -  -     caller  -
	both_outlets  -      db  web  -  -     caller  -
	unnamed       -      -   -    -  -     -       -
	nobody        -      -   -    -  -     caller  -
	named_word    -      db  -    -  -     caller  -
	named_client  -      -   -    -  -     -       -
	relay         -      -   -    -  node  caller member
	bridge        -      -   -    -  node  caller  -
	named_bridge  -      db  -    -  node  caller  -
	named_relay   -      -   -    -  node  caller member`

var columns = []As{
	{Role: Inlet},
	{Role: Outlet, Name: "db"},
	{Role: Outlet, Name: "web"},
	{Role: Outlet},
	{Role: Node},
	{Role: Caller},
	{Role: Member},
}

// TestRoles has each member of a fleet taken for everything, and trusted as what its credential
// says and as nothing else; a stranger, and the node itself, as nothing at all.
func TestRoles(t *testing.T) {
	authority, own := newIdentity(t, "authority"), newIdentity(t, "own")
	p := newPolicy(t, Config{
		Self: own.Identifier(), Authorities: []identity.Identifier{authority.Identifier()},
	})
	check := func(who string, peer *identity.Peer, want []string) {
		for i, as := range columns {
			d, err := p.Check(peer, as, t0)
			if trusted := err == nil && d.Anchor == AnchorAuthority; trusted != (want[i] != "-") {
				t.Errorf("%s as %+v: %+v, %v, want %s", who, as, d, err, want[i])
			}
			if err != nil && !errors.Is(err, ErrNotTrusted) {
				t.Errorf("%s as %+v: %v", who, as, err)
			}
			accepted, err := p.Accept(peer, as, t0)
			if (err == nil) != (want[i] != "-") || accepted.Anchor != d.Anchor {
				t.Errorf("%s as %+v: Accept says %+v, %v", who, as, accepted, err)
			}
		}
	}
	rows := strings.Split(strings.TrimSpace(roleRows), "\n")
	if len(rows) != len(fleet) {
		t.Errorf("%d rows for %d members", len(rows), len(fleet))
	}
	for _, row := range rows {
		fields := strings.Fields(row)
		who := strings.ReplaceAll(fields[0], "_", " ")
		id := newIdentity(t, who)
		attributes, ok := fleet[who]
		if !ok {
			t.Fatalf("%s is nobody", who)
		}
		check(who, peerOf(id, issued(t, authority, id.Identifier(), attributes...)), fields[1:])
		// What it says counts for nobody who is this node itself.
		check("own "+who, peerOf(own, issued(t, authority, own.Identifier(), attributes...)),
			strings.Fields("- - - - - - -"))
	}
	stranger := newIdentity(t, "stranger")
	check("stranger", peerOf(stranger), strings.Fields("- - - - - - -"))
	self := issued(t, stranger, stranger.Identifier(), "role=relay", "relay-name=db")
	check("its own authority", peerOf(stranger, self), strings.Fields("- - - - - - -"))
}

// TestMembers has relays of a set trusted as such, and as nothing that is not for relays; and
// nobody who is trusted otherwise trusted as a relay of the set.
func TestMembers(t *testing.T) {
	own, other, allowed := newIdentity(t, "own"), newIdentity(t, "other"), newIdentity(t, "allowed")
	p := newPolicy(t, Config{
		Self: own.Identifier(), Members: []identity.Identifier{other.Identifier()},
		Allow: []identity.Identifier{allowed.Identifier()}, AllowAnyone: true,
	})
	closed := newPolicy(t, Config{
		Self: own.Identifier(), Members: []identity.Identifier{other.Identifier()},
		Deny: []identity.Identifier{allowed.Identifier()},
	})
	for _, test := range []struct {
		policy *Policy
		who    *identity.Identity
		as     As
		want   bool
	}{
		{p, other, As{Role: Member}, true},
		{p, allowed, As{Role: Member}, false},
		{p, own, As{Role: Member}, false},
		{p, newIdentity(t, "anyone"), As{Role: Member}, false},
		{closed, other, As{Role: Member}, true},
		{closed, other, As{Role: Node}, true},
		{closed, other, As{Role: Caller}, true},
		{closed, other, As{Role: Outlet, Name: "db"}, false},
		{closed, other, As{Role: Inlet}, false},
		{closed, other, As{Role: Passenger}, false},
		{closed, own, As{Role: Member}, false},
		{closed, own, As{Role: Caller}, true},
	} {
		if _, err := test.policy.Check(peerOf(test.who), test.as, t0); (err == nil) != test.want {
			t.Errorf("%v as %+v: %v", test.who.Identifier(), test.as, err)
		}
	}
}

// TestRoleReasons has the refusals say what is wrong.
func TestRoleReasons(t *testing.T) {
	authority, own := newIdentity(t, "authority"), newIdentity(t, "own")
	p := newPolicy(t, Config{
		Self: own.Identifier(), Authorities: []identity.Identifier{authority.Identifier()},
	})
	db := As{Role: Outlet, Name: "db"}
	for _, test := range []struct {
		who  string
		as   As
		text string
	}{
		{"client", db, `attribute role is "inlet": its bearer is no outlet`},
		{"plain", db, "no attribute relay-name: its bearer goes by no name"},
		{"other outlet", db, `relay-name is "web": its bearer may not go by the name db`},
		{"outlet", As{Role: Outlet}, "asked for by name"},
		{"outlet", As{Role: Inlet}, `relay-name is "db": its bearer is an outlet, and no inlet`},
		{"unnamed", As{Role: Inlet}, `role is "outlet": its bearer is no inlet`},
		{"unnamed", As{Role: Caller}, "no attribute relay-name"},
		{"named client", As{Role: Caller}, `role is "inlet": its bearer is no outlet`},
		{"client", As{Role: Node}, "neither relay nor bridge"},
		{"plain", As{Role: Node}, "no attribute role"},
		{"outlet", As{}, "no credential counts for this"},
	} {
		id := newIdentity(t, test.who)
		peer := peerOf(id, issued(t, authority, id.Identifier(), fleet[test.who]...))
		_, err := p.Check(peer, test.as, t0)
		wantErr(t, err, ErrNotTrusted, test.text)
		if nameless := test.as.Role == Outlet && test.as.Name == ""; errors.Is(
			err,
			ErrNameless,
		) != nameless {
			t.Errorf("%s as %+v: %v", test.who, test.as, err)
		}
	}
	mine := peerOf(own, issued(t, authority, own.Identifier(), fleet["outlet"]...))
	_, err := p.Check(mine, db, t0)
	wantErr(t, err, ErrNotTrusted, "our own identity")
}

// TestRoleWithOtherAnchors has whoever is trusted by anything but a credential be trusted as
// anything but a member of a set.
func TestRoleWithOtherAnchors(t *testing.T) {
	id, authority := newIdentity(t, "peer"), newIdentity(t, "authority").Identifier()
	file := writeTemp(t, "allow", id.Identifier().String()+"\n")
	authorities := []identity.Identifier{authority}
	for anchor, cfg := range map[Anchor]Config{
		AnchorSelf:      {Self: id.Identifier()},
		AnchorAllow:     {Allow: []identity.Identifier{id.Identifier()}, Authorities: authorities},
		AnchorAllowFile: {AllowFiles: []string{file}, Authorities: authorities},
		AnchorAnyone:    {Self: id.Identifier(), AllowAnyone: true, Authorities: authorities},
	} {
		p := newPolicy(t, cfg)
		for _, as := range append(columns[:len(columns)-1:len(columns)-1], As{}) { // but a member
			if d, err := p.Check(peerOf(id), as, t0); err != nil || d.Anchor != anchor {
				t.Errorf("%s, as %+v: %+v, %v", anchor, as, d, err)
			}
		}
	}
}

// TestRequireIsAboutTheEnds has attributes be required of inlets and outlets, and of nobody who is
// merely passed; and the credential that fits be found among several.
func TestRequireIsAboutTheEnds(t *testing.T) {
	authority := newIdentity(t, "authority")
	p := newPolicy(t, Config{
		Authorities: []identity.Identifier{authority.Identifier()},
		Require:     map[string]string{"team": "blue"},
	})
	id := newIdentity(t, "peer")
	say := func(attributes ...string) *identity.Credential {
		return issued(t, authority, id.Identifier(), attributes...)
	}
	for _, test := range []struct {
		as        As
		says      *identity.Credential
		isTrusted bool
	}{
		{As{Role: Inlet}, say("role=inlet"), false},
		{As{Role: Inlet}, say("role=inlet", "team=red"), false},
		{As{Role: Inlet}, say("role=inlet", "team=blue"), true},
		{As{Role: Outlet, Name: "db"}, say("relay-name=db"), false},
		{As{Role: Outlet, Name: "db"}, say("relay-name=db", "team=blue"), true},
		{As{Role: Node}, say("role=relay"), true},
		{As{Role: Caller}, say("role=inlet"), true},
		{As{Role: Passenger}, say("role=inlet"), false},
		{As{Role: Passenger}, say("role=inlet", "team=red"), false},
		{As{Role: Passenger}, say("role=inlet", "team=blue"), true},
	} {
		_, err := p.Check(peerOf(id, test.says), test.as, t0)
		if (err == nil) != test.isTrusted {
			t.Errorf("%v as %+v: %v", test.says.Attributes(), test.as, err)
		}
	}
	several := peerOf(id, say("role=relay"), say("role=inlet", "team=red"),
		say("relay-name=web", "team=blue"), say("relay-name=db", "team=blue"))
	d, err := p.Check(several, As{Role: Outlet, Name: "db"}, t0)
	if err != nil || d.Attributes["relay-name"] != "db" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := p.Check(several, As{Role: Inlet}, t0); err == nil {
		t.Error("none of them says that it is an inlet of the blue team")
	}
}
