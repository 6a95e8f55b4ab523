package set_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
)

// person returns an Identifier; the smaller i, the smaller it is.
func person(i byte) identity.Identifier { return identity.Identifier{i, 31: 1} }

func encodedRecords(t testing.TB, records []set.Record) []byte {
	t.Helper()
	b, err := set.AppendRecords([]byte("front"), records)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimPrefix(b, []byte("front"))
}

func TestRecordsEncoding(t *testing.T) {
	long := set.Record{Name: strings.Repeat("n", set.MaxName), Who: person(1), Held: true}
	full := make([]set.Record, set.MaxRecords)
	for i := range full {
		full[i] = long
	}
	for _, records := range [][]set.Record{
		{},
		{long},
		full,
		{{Name: "a", Who: person(2), First: set.Lifetime, Last: set.Lifetime - time.Millisecond}},
		{{Name: "a", Who: person(2), First: (1<<40 - 1) * time.Millisecond, Held: true}, long},
	} {
		b := encodedRecords(t, records)
		if len(b) > set.MaxRecordsSize {
			t.Errorf("%d records have %d bytes", len(records), len(b))
		}
		got, err := set.ParseRecords(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, records) {
			t.Errorf("%+v is read as %+v", records, got)
		}
	}
	if b := encodedRecords(t, full); len(b) != set.MaxRecordsSize {
		t.Errorf("the most records have %d bytes, want %d", len(b), set.MaxRecordsSize)
	}
}

// TestRecordsRoundDown has ages that are no whole milliseconds.
func TestRecordsRoundDown(t *testing.T) {
	told := set.Record{Name: "a", Who: person(1), First: 3*time.Millisecond - 1, Last: 1}
	got, err := set.ParseRecords(encodedRecords(t, []set.Record{told}))
	if err != nil || got[0].First != 2*time.Millisecond || got[0].Last != 0 {
		t.Errorf("%+v is read as %+v, %v", told, got, err)
	}
}

// goodRecord is one that the tests of what is refused change.
func goodRecord() set.Record {
	return set.Record{Name: "db", Who: person(1), First: 2 * time.Hour, Last: time.Hour}
}

func TestRecordsRefused(t *testing.T) {
	for what, change := range map[string]func(r *set.Record){
		"no name":         func(r *set.Record) { r.Name = "" },
		"a long name":     func(r *set.Record) { r.Name = strings.Repeat("n", set.MaxName+1) },
		"another name":    func(r *set.Record) { r.Name = "a/b" },
		"nobody":          func(r *set.Record) { r.Who = identity.Identifier{} },
		"over":            func(r *set.Record) { r.First, r.Last = set.Lifetime, set.Lifetime },
		"in the future":   func(r *set.Record) { r.Last = -1 },
		"older than time": func(r *set.Record) { r.First = 1 << 40 * time.Millisecond },
		"last first":      func(r *set.Record) { r.First = r.Last - 1 },
		"held long ago":   func(r *set.Record) { r.Held = true },
	} {
		r := goodRecord()
		change(&r)
		if b, err := set.AppendRecords(nil, []set.Record{r}); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("%s is encoded as %x, %v", what, b, err)
		}
		now := time.Now()
		o := set.NewOwners(now, set.OwnersConfig{})
		if got := o.Learn(now, nodeID(1), r); !got.Refused || o.Len() > 0 {
			t.Errorf("%s is learned: %+v", what, got)
		}
	}
	many := make([]set.Record, set.MaxRecords+1)
	for i := range many {
		many[i] = goodRecord()
	}
	if _, err := set.AppendRecords(nil, many); !errors.Is(err, set.ErrMalformed) {
		t.Errorf("%d records: %v", len(many), err)
	}
}

func TestRecordsBytesRefused(t *testing.T) {
	good := encodedRecords(t, []set.Record{goodRecord(), goodRecord()})
	for cut := range good {
		if _, err := set.ParseRecords(good[:cut]); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("%d of %d bytes: %v", cut, len(good), err)
		}
	}
	for _, b := range [][]byte{append(bytes.Clone(good), 0), make([]byte, set.MaxRecordsSize+1)} {
		if _, err := set.ParseRecords(b); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
	for at, to := range map[int]byte{
		0:              2,   // the version
		1:              255, // how many
		3:              70,  // the length of a name
		4:              '/', // a name
		3 + 3 + 32:     2,   // held
		3 + 3 + 33:     1,   // the first claim
		3 + 3 + 32 + 9: 255, // the last one
	} {
		b := bytes.Clone(good)
		b[at] = to
		if _, err := set.ParseRecords(b); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("byte %d is %d: %v", at, to, err)
		}
	}
}

func FuzzParseRecords(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodedRecords(f, nil))
	f.Add(encodedRecords(f, []set.Record{goodRecord(), {Name: "a", Who: person(2), Held: true}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := set.ParseRecords(b)
		if err != nil {
			if !errors.Is(err, set.ErrMalformed) || records != nil {
				t.Fatalf("%v, %v", records, err)
			}
			return
		}
		if again := encodedRecords(t, records); !bytes.Equal(again, b) {
			t.Fatalf("%x is written again as %x", b, again)
		}
		now := time.Now()
		o := set.NewOwners(now, set.OwnersConfig{Names: 100})
		for _, r := range records {
			o.Learn(now, nodeID(1), r)
		}
		for _, r := range o.Records(now, nil) {
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		o.Expire(now.Add(set.Lifetime))
		if o.Len() > 0 {
			t.Fatal("what was told as not held stays")
		}
	})
}
