package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestCredential(t *testing.T) {
	authority := rotated(t, newIdentity(t, "authority"), "authority's second key")
	subject := newIdentity(t, "subject").Identifier()
	c := issued(t, authority, subject, "role=db", "zone=eu-1", "a.b_c-9=", "name=Jürgen 数")
	for _, again := range []func() (*Credential, error){
		func() (*Credential, error) { return ParseCredential(c.Bytes()) },
		func() (*Credential, error) { return ParseCredentialText(c.String()) },
		func() (*Credential, error) { return ParseCredentialText(" \t" + c.String() + "\r\n") },
	} {
		got, err := again()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), c.Bytes()) || got.String() != c.String() {
			t.Error("encoding again gives something else")
		}
		if got.Authority() != authority.Identifier() || got.Subject() != subject ||
			got.Serial() != c.Serial() {
			t.Error("other names")
		}
		if !got.NotBefore().Equal(t0) || !got.Expires().Equal(t0.Add(time.Hour)) {
			t.Errorf("valid from %v to %v", got.NotBefore(), got.Expires())
		}
		if !maps.Equal(got.Attributes(), map[string]string{
			"role": "db", "zone": "eu-1", "a.b_c-9": "", "name": "Jürgen 数",
		}) {
			t.Errorf("attributes are %v", got.Attributes())
		}
		h, err := got.Verify(authority.Identifier(), subject, t0)
		if err != nil || h.Len() != 2 || h.verify() != nil {
			t.Errorf("the authority's history: %v, %v", h, err)
		}
	}
	if s := c.String(); strings.ContainsAny(s, " \n\t=+/\"'$\\") ||
		!strings.HasPrefix(s, "sp-credential-1:") {
		t.Errorf("%q is not one word", s)
	}
	c.Attributes()["role"] = "admin"
	if c.Attributes()["role"] != "db" {
		t.Error("the caller can change the attributes")
	}
}

func TestCredentialVerify(t *testing.T) {
	authority, subject := newIdentity(t, "authority"), newIdentity(t, "subject")
	other := newIdentity(t, "other")
	c := issued(t, authority, subject.Identifier())
	for _, test := range []struct {
		name               string
		authority, subject *Identity
		at                 time.Time
		target             error
		want               string
	}{
		{"first second", authority, subject, t0, nil, ""},
		{"last instant", authority, subject, t0.Add(time.Hour - 1), nil, ""},
		{
			"an instant too early", authority, subject, t0.Add(-1), ErrNotYetValid,
			"not yet valid: it begins at 2026-02-03T04:05:06Z",
		},
		{
			"an instant too late", authority, subject, t0.Add(time.Hour), ErrExpired,
			"expired at 2026-02-03T05:05:06Z",
		},
		{"much later", authority, subject, t0.AddDate(100, 0, 0), ErrExpired, "expired"},
		{
			"wrong authority", other, subject, t0, nil,
			"issued by " + authority.Identifier().String(),
		},
		{"wrong subject", authority, other, t0, nil, "about " + subject.Identifier().String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.Verify(test.authority.Identifier(), test.subject.Identifier(), test.at)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantErr(t, err, test.target, test.want)
		})
	}
}

func TestCredentialMangled(t *testing.T) {
	t.Parallel()
	authority := newIdentity(t, "authority")
	subject := newIdentity(t, "subject").Identifier()
	c := issued(t, authority, subject, "a=x", "b=")
	verify := func(c *Credential, err error) error {
		if err != nil {
			return err
		}
		_, err = c.Verify(authority.Identifier(), subject, t0)
		return err
	}
	mangle(t, c.Bytes(), func(b []byte) error { return verify(ParseCredential(b)) })
	text := c.String()
	for i := range text {
		for _, r := range []byte{'A', '\n'} {
			b := []byte(text)
			if b[i] == r {
				continue
			}
			b[i] = r
			if i == len(text)-1 && r == '\n' {
				b = append(b, 'A') // white space at the end is no part of it
			}
			if verify(ParseCredentialText(string(b))) == nil {
				t.Errorf("accepted with character %d changed to %q", i, r)
			}
		}
	}
}

// Only what names the authority's current key may sign, and by the whole history.
func TestCredentialForged(t *testing.T) {
	old := newIdentity(t, "authority")
	current := rotated(t, old, "authority's second key")
	thief := newIdentity(t, "thief")
	for name, forger := range map[string]*Identity{
		"thief's key under the authority's history": {history: old.history, key: thief.key},
		"given-up key under the new history":        {history: current.history, key: old.key},
	} {
		t.Run(name, func(t *testing.T) {
			c := issued(t, forger, thief.Identifier(), "role=admin")
			_, err := c.Verify(old.Identifier(), thief.Identifier(), t0)
			wantErr(t, err, nil, "not signed by its authority")
		})
	}
	// The authority's first change, and the thief's key after it.
	raw := current.History().Bytes()
	copy(raw[1+firstChangeSize+2+hashSize:], thief.History().PublicKey())
	forger := &Identity{history: decodeHistory(&decoder{b: raw}), key: thief.key}
	c := issued(t, forger, thief.Identifier(), "role=admin")
	h, err := c.Verify(old.Identifier(), thief.Identifier(), t0)
	wantErr(t, err, nil, "authority's history: change 2")
	if h != nil {
		t.Error("a forged history was given out")
	}
}

func TestIssueRefuses(t *testing.T) {
	authority, subject := newIdentity(t, "authority"), newIdentity(t, "subject").Identifier()
	many := make(map[string]string)
	for _, n := range names("k", MaxAttributes+1) {
		many[n] = ""
	}
	attribute := func(k, v string) Claims {
		return Claims{subject, map[string]string{k: v}, t0, t0.Add(time.Hour)}
	}
	for name, test := range map[string]struct {
		claims Claims
		want   string
	}{
		"no subject":        {Claims{Identifier{}, nil, t0, t0.Add(1e9)}, "no subject"},
		"ends as it begins": {Claims{subject, nil, t0, t0}, "expires before it becomes valid"},
		"ends before": {
			Claims{subject, nil, t0, t0.Add(-1e9)}, "expires before it becomes valid",
		},
		"before 1970":         {Claims{subject, nil, time.Unix(-1, 0), t0}, "not-before"},
		"no times":            {Claims{subject, nil, time.Time{}, time.Time{}}, "not-before"},
		"after 9999":          {Claims{subject, nil, t0, time.Unix(maxTime+1, 0)}, "expiry"},
		"too many attributes": {Claims{subject, many, t0, t0.Add(1e9)}, "17 attributes"},
		"empty key":           {attribute("", "v"), "key has 0 bytes"},
		"long key":            {attribute(strings.Repeat("k", 65), "v"), "key has 65 bytes"},
		"upper case":          {attribute("Role", "v"), "character other than"},
		"space in key":        {attribute("a b", "v"), "character other than"},
		"equals in key":       {attribute("a=b", "v"), "character other than"},
		"long value":          {attribute("k", strings.Repeat("v", 256)), "has 256 bytes"},
		"line feed":           {attribute("k", "a\nb"), "not printable"},
		"escape":              {attribute("k", "\x1b[31m"), "not printable"},
		"C1":                  {attribute("k", "\u009b"), "not printable"},
		"direction":           {attribute("k", "a\u202eb"), "not printable"},
		"not UTF-8":           {attribute("k", "\xff"), "not printable"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := authority.Issue(nil, test.claims)
			wantErr(t, err, nil, test.want)
		})
	}
	_, err := authority.Issue(bytes.NewReader(nil), Claims{subject, nil, t0, t0.Add(1e9)})
	wantErr(t, err, nil, "no random bytes")
}

// The decoder accepts one order of attributes only, with each key once.
func TestCredentialIsCanonical(t *testing.T) {
	authority, subject := newIdentity(t, "authority"), newIdentity(t, "subject").Identifier()
	good := issued(t, authority, subject, "aa=x", "bb=y").Bytes()
	at := bytes.Index(good, []byte("\x02aa\x01x\x02bb\x01y"))
	if at < 0 {
		t.Fatal("attributes are not encoded as documented")
	}
	for attributes, want := range map[string]string{
		"\x02bb\x01y\x02aa\x01x":    "ascending",
		"\x02aa\x01x\x02aa\x01x":    "ascending",
		"\x02aa\x01x\x00\x03bby":    "key has 0 bytes",
		"\x02aa\x01x\x02bB\x01y":    "character other than",
		"\x02aa\x01\x00\x02bb\x01y": "not printable",
	} {
		b := bytes.Clone(good)
		copy(b[at:], attributes)
		_, err := ParseCredential(b)
		wantErr(t, err, nil, want)
	}
	_, err := ParseCredential(make([]byte, MaxCredential+1))
	wantErr(t, err, nil, fmt.Sprintf("at most %d", MaxCredential))
}

func TestCredentialTextRefused(t *testing.T) {
	c := issued(t, newIdentity(t, "authority"), newIdentity(t, "subject").Identifier())
	text, prefix := c.String(), credentialObject.prefix
	for bad, want := range map[string]string{
		"":                                     "does not begin",
		text[1:]:                               "does not begin",
		strings.ToUpper(text):                  "does not begin",
		strings.Replace(text, "-1:", "-2:", 1): "does not begin",
		text[:40] + "\n" + text[40:]:           "several lines",
		text + "=":                             "damaged",
		prefix + base64.RawStdEncoding.EncodeToString([]byte{0xff, 0xff, 0xff}): "damaged",
		prefix:                              "cut short",
		prefix + strings.Repeat("A", 20000): "more than the longest",
	} {
		_, err := ParseCredentialText(bad)
		wantErr(t, err, nil, want)
	}
}

// base64 has spare bits in its last character; they must be zero.
func TestCredentialTextIsCanonical(t *testing.T) {
	authority, subject := newIdentity(t, "authority"), newIdentity(t, "subject").Identifier()
	tried := 0
	for _, value := range []string{"a=", "a=b", "a=bc"} {
		c := issued(t, authority, subject, value)
		if len(c.Bytes())%3 == 0 {
			continue
		}
		tried++
		text := []byte(c.String())
		accepted := 0
		for last := range 128 {
			text[len(text)-1] = byte(last)
			if got, err := ParseCredentialText(string(text)); err == nil &&
				bytes.Equal(got.Bytes(), c.Bytes()) {
				accepted++
			}
		}
		if accepted != 1 {
			t.Errorf("%d texts of one credential are accepted", accepted)
		}
	}
	if tried != 2 {
		t.Errorf("%d lengths with spare bits were tried, want 2", tried)
	}
}

func TestCredentialJSON(t *testing.T) {
	authority := newIdentity(t, "authority").Identifier()
	subject := newIdentity(t, "subject").Identifier()
	c := issued(t, newIdentity(t, "authority"), subject, "role=db")
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"authority": authority.String(), "subject": subject.String(),
		"not_before": "2026-02-03T04:05:06Z", "expires": "2026-02-03T05:05:06Z",
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if m, _ := got["attributes"].(map[string]any); m["role"] != "db" {
		t.Errorf("attributes are %v", got["attributes"])
	}
	if s, _ := got["serial"].(string); len(s) != 32 {
		t.Errorf("serial is %q", s)
	}
	bare, err := json.Marshal(issued(t, newIdentity(t, "authority"), subject))
	if err != nil || !bytes.Contains(bare, []byte(`"attributes":{}`)) {
		t.Errorf("without attributes: %s, %v", bare, err)
	}
}
