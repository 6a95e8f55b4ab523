// What the second implementation knows of relay sets, from the document and the standard library
// only, and whether both implementations say the same of the same bytes.

package docs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// member is a node of a list, by the document.
type member struct {
	id            string
	epoch         uint64
	state, weight byte
	addresses     []string // in words
}

var isName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString

// reader takes a list or records apart. What is not there, or not allowed, makes it bad.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) number(size int) uint64 { return new(big.Int).SetBytes(r.take(size)).Uint64() }

func (r *reader) refuseIf(bad bool) { r.bad = r.bad || bad }

// members reads a list.
func members(b []byte) (list []member, ok bool) {
	r := &reader{rest: b}
	r.refuseIf(len(b) > 65535)
	r.refuseIf(r.number(1) != 1)
	r.number(8)
	count := r.number(1)
	r.refuseIf(count > 64)
	for i := uint64(0); i < count && !r.bad; i++ {
		m := member{id: string(r.take(8)), epoch: r.number(8)}
		m.state, m.weight = byte(r.number(1)), byte(r.number(1))
		r.refuseIf(m.state < 1 || m.state > 2 || m.weight < 1 || m.weight > 16)
		r.refuseIf(i > 0 && list[i-1].id >= m.id)
		addresses := r.number(1)
		r.refuseIf(addresses < 1 || addresses > 4)
		for j := uint64(0); j < addresses && !r.bad; j++ {
			m.addresses = append(m.addresses, r.transport())
		}
		list = append(list, m)
	}
	return list, !r.bad && len(r.rest) == 0
}

// transport reads a transport address.
func (r *reader) transport() string {
	kind, size := r.number(1), int(r.number(1))
	value := r.take(size)
	switch kind {
	case 3, 4:
		r.refuseIf(kind == 3 && size != 6 || kind == 4 && size != 18)
		r.refuseIf(kind == 4 && bytes.HasPrefix(value, append(make([]byte, 10), 0xff, 0xff)))
		r.refuseIf(!r.bad && bytes.HasSuffix(value, []byte{0, 0}))
	case 5:
		r.refuseIf(size < 2 || size > 2+253 || !r.bad && !isName(string(value[2:])) ||
			bytes.HasPrefix(value, []byte{0, 0}))
	default:
		r.bad = true
	}
	if r.bad {
		return ""
	}
	return meansAddress(byte(kind), value)
}

// homesOf returns the ids of a name's homes, in their order, and their scores.
func homesOf(list []member, name string) (ids []string, scores []uint64) {
	score := make(map[string]uint64)
	for _, m := range list {
		for i := range m.weight {
			sum := sha256.Sum256([]byte("sp home 1" + m.id + string([]byte{i}) + name))
			score[m.id] = max(score[m.id], binary.BigEndian.Uint64(sum[:8]))
		}
		ids = append(ids, m.id)
	}
	sort.SliceStable(ids, func(i, j int) bool { return score[ids[i]] > score[ids[j]] })
	for _, id := range ids {
		scores = append(scores, score[id])
	}
	return ids, scores
}

// belonging is a record of ownership, by the document.
type belonging struct {
	name, who   string
	held        bool
	first, last uint64
}

// belongings reads records.
func belongings(b []byte) (all []belonging, ok bool) {
	r := &reader{rest: b}
	r.refuseIf(r.number(1) != 1)
	count := r.number(2)
	r.refuseIf(count > 512)
	for i := uint64(0); i < count && !r.bad; i++ {
		name := string(r.take(int(r.number(1))))
		who := string(r.take(32))
		held := r.number(1)
		first, last := r.number(8), r.number(4)
		r.refuseIf(len(name) > 69 || !isName(name) || who == strings.Repeat("\x00", 32) ||
			held > 1 || held == 1 && last > 0 || first > 1099511627775 || last > first ||
			last >= 24*60*60*1000)
		all = append(all, belonging{name, who, held == 1, first, last})
	}
	return all, !r.bad && len(r.rest) == 0
}

// ---- the example

// exampleList is the list of the worked example.
func exampleList() *set.List {
	id := func(b byte) (id set.NodeID) { return set.NodeID(bytes.Repeat([]byte{b}, len(id))) }
	return &set.List{Version: 7, Nodes: []set.Node{
		{
			ID: id(0x51), Epoch: 1, State: set.Up, Weight: 1, Addresses: []wire.Address{
				{Kind: wire.IP4, IP: netip.MustParseAddr("192.0.2.1"), Port: 4000},
			},
		},
		{
			ID: id(0x52), Epoch: 3, State: set.Draining, Weight: 2, Addresses: []wire.Address{
				{Kind: wire.DNS, Name: "b.example.com", Port: 4000},
				{Kind: wire.IP6, IP: netip.MustParseAddr("2001:db8::2"), Port: 4000},
			},
		},
		{
			ID: id(0x53), Epoch: 2, State: set.Up, Weight: 1, Addresses: []wire.Address{
				{Kind: wire.DNS, Name: "c.example.com", Port: 443},
			},
		},
	}}
}

// exampleNames are the names whose homes the worked example has.
var exampleNames = []string{"db", "web", "mail", "ssh"}

// exampleSet is relay sets, by this module.
func exampleSet(e *example, owner identity.Identifier) {
	list := exampleList()
	b, err := list.AppendTo(nil)
	check(e.T, err)
	e.is("list", b)
	for _, name := range exampleNames {
		var homes []byte
		for _, n := range list.Homes(name) {
			homes = append(homes, n.ID[:]...)
		}
		e.is("homes of "+name, homes)
	}
	records := []set.Record{
		{Name: "db", Who: owner, First: time.Hour, Held: true},
		{Name: "web", Who: owner, First: 50 * time.Hour, Last: 90 * time.Second},
	}
	b, err = set.AppendRecords(nil, records)
	check(e.T, err)
	e.is("records", b)
}

// exampleMembers is relay sets, by the second implementation.
func exampleMembers(e *example, owner [32]byte) {
	list, ok := members(e.document["list"])
	want := "[{QQQQQQQQ 1 1 1 [192.0.2.1:4000]} " +
		"{RRRRRRRR 3 2 2 [b.example.com:4000 [2001:db8::2]:4000]} " +
		"{SSSSSSSS 2 1 1 [c.example.com:443]}]"
	if got := fmt.Sprint(list); !ok || got != want {
		e.Errorf("the list is read as\n%s, %v, want\n%s", got, ok, want)
	}
	for _, name := range exampleNames {
		ids, scores := homesOf(list, name)
		e.is("homes of "+name, []byte(strings.Join(ids, "")))
		var b []byte
		for _, score := range scores {
			b = binary.BigEndian.AppendUint64(b, score)
		}
		e.is("scores of "+name, b)
	}
	got, ok := belongings(e.document["records"])
	for i, want := range []belonging{
		{"db", string(owner[:]), true, 3_600_000, 0},
		{"web", string(owner[:]), false, 180_000_000, 90_000},
	} {
		if !ok || len(got) != 2 || got[i] != want {
			e.Errorf("the records are read as %+v, %v", got, ok)
		}
	}
}

// ---- both implementations

// TestListsAlike has both implementations read lists that are almost right, and compute homes.
func TestListsAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	good, err := exampleList().AppendTo(nil)
	check(t, err)
	accepted := alike(t, rng, good, func(b []byte) (bool, bool) {
		list, err := set.ParseList(b)
		second, ok := members(b)
		if err == nil && ok && rng.IntN(10) == 0 {
			name := fmt.Sprint("name-", rng.IntN(100))
			ids, _ := homesOf(second, name)
			for i, n := range list.Homes(name) {
				if string(n.ID[:]) != ids[i] {
					t.Fatalf("%x: home %d of %s is %x, or %x", b, i, name, n.ID, ids[i])
				}
			}
		}
		return err == nil, ok
	})
	t.Logf("%d lists were read", accepted)
}

// TestRecordsAlike has both implementations read records that are almost right.
func TestRecordsAlike(t *testing.T) {
	accepted := alike(t, rand.New(rand.NewPCG(3, 4)), examples(t)["records"],
		func(b []byte) (bool, bool) {
			_, err := set.ParseRecords(b)
			_, ok := belongings(b)
			return err == nil, ok
		})
	t.Logf("%d encodings of records were read", accepted)
}

// alike has bytes changed here and there, and read by both. It returns how often both took them.
func alike(t *testing.T, rng *rand.Rand, good []byte, read func(b []byte) (bool, bool)) int {
	t.Helper()
	accepted, refused := 0, 0
	for range 20_000 {
		b := bytes.Clone(good)
		for range 1 + rng.IntN(3) {
			switch at := rng.IntN(len(b)); rng.IntN(8) {
			case 0:
				b = append(b[:at], b[at+1:]...)
			case 1:
				b = append(b[:at], append([]byte{byte(rng.IntN(256))}, b[at:]...)...)
			case 2:
				b[at] = []byte{0, 1, 2, 255}[rng.IntN(4)]
			case 3, 4:
				b[at] ^= 1 << rng.IntN(8)
			default:
				b[at] += byte(rng.IntN(5)) - 2
			}
		}
		first, second := read(b)
		switch {
		case first != second:
			t.Fatalf("%x: this module takes it: %v, the second implementation: %v", b, first, second)
		case first:
			accepted++
		default:
			refused++
		}
	}
	if accepted < 1_000 || refused < 1_000 {
		t.Errorf("%d are taken, %d refused", accepted, refused)
	}
	return accepted
}
