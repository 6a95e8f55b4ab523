package set_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// nodeID returns an id that i and nothing else says.
func nodeID(i int) set.NodeID {
	var id set.NodeID
	binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
	return id
}

func address(i int) wire.Address {
	return wire.Address{Kind: wire.DNS, Name: fmt.Sprintf("relay-%d.example.com", i), Port: 4000}
}

// newList returns a list of nodes that are up, of those weights.
func newList(t testing.TB, weights ...uint8) *set.List {
	t.Helper()
	l := &set.List{Version: 1}
	for i, w := range weights {
		if !l.Put(set.Node{
			ID: nodeID(i + 1), Epoch: 1, State: set.Up, Weight: w,
			Addresses: []wire.Address{address(i)},
		}) {
			t.Fatalf("node %d is not taken", i)
		}
	}
	return l
}

// same returns n nodes' weights, which are all w.
func same(n int, w uint8) []uint8 { return bytes.Repeat([]byte{w}, n) }

// encoded returns l's encoding.
func encoded(t testing.TB, l *set.List) []byte {
	t.Helper()
	b, err := l.AppendTo([]byte("front"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimPrefix(b, []byte("front"))
}

func TestListEncoding(t *testing.T) {
	full := newList(t, same(set.MaxNodes, 16)...)
	kinds := newList(t, 1)
	kinds.Version = 1<<64 - 1
	kinds.Put(set.Node{
		ID: nodeID(1), Epoch: 1<<64 - 1, State: set.Draining, Weight: 16,
		Addresses: []wire.Address{
			{Kind: wire.IP4, IP: netip.MustParseAddr("192.0.2.1"), Port: 1},
			{Kind: wire.IP6, IP: netip.MustParseAddr("2001:db8::1"), Port: 65535},
			{Kind: wire.DNS, Name: strings.Repeat("a", wire.MaxHost), Port: 4000},
			{Kind: wire.DNS, Name: "a", Port: 4000},
		},
	})
	for _, l := range []*set.List{{}, newList(t, 1), kinds, full} {
		b := encoded(t, l)
		got, err := set.ParseList(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := encoded(t, got); !bytes.Equal(b, again) || len(got.Nodes) != len(l.Nodes) {
			t.Errorf("%x\nis read and written again as\n%x", b, again)
		}
		for i := range l.Nodes {
			if !reflect.DeepEqual(got.Nodes[i], l.Nodes[i]) {
				t.Errorf("%+v is read as %+v", l.Nodes[i], got.Nodes[i])
			}
		}
	}
}

// TestListRefused has lists that are wrong in one thing each, as values and as bytes.
func TestListRefused(t *testing.T) {
	change := func(how func(l *set.List)) *set.List {
		l := newList(t, 1, 2, 3)
		how(l)
		return l
	}
	addresses := func(a ...wire.Address) *set.List {
		return change(func(l *set.List) { l.Nodes[1].Addresses = a })
	}
	for what, l := range map[string]*set.List{
		"too many nodes": change(func(l *set.List) {
			l.Nodes = make([]set.Node, set.MaxNodes+1)
		}),
		"out of order":      change(func(l *set.List) { slices.Reverse(l.Nodes) }),
		"twice":             change(func(l *set.List) { l.Nodes[1].ID = l.Nodes[0].ID }),
		"no state":          change(func(l *set.List) { l.Nodes[1].State = 0 }),
		"another state":     change(func(l *set.List) { l.Nodes[1].State = 3 }),
		"weight 0":          change(func(l *set.List) { l.Nodes[1].Weight = 0 }),
		"weight 17":         change(func(l *set.List) { l.Nodes[1].Weight = 17 }),
		"no address":        addresses(),
		"five addresses":    addresses(address(1), address(2), address(3), address(4), address(5)),
		"a service":         addresses(wire.Address{Kind: wire.Service, Name: "echo"}),
		"a label":           addresses(wire.Address{Kind: wire.Label, Name: "12345678"}),
		"a Unix socket":     addresses(wire.Address{Kind: wire.Unix, Name: "/tmp/s"}),
		"a local transport": addresses(wire.Address{Kind: wire.Local, Name: "fifo:x"}),
		"port 0":            addresses(wire.Address{Kind: wire.DNS, Name: "a"}),
		"a zone": addresses(wire.Address{
			Kind: wire.IP6, IP: netip.MustParseAddr("fe80::1%eth0"), Port: 1,
		}),
	} {
		if err := l.Validate(); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
		if b, err := l.AppendTo(nil); !errors.Is(err, set.ErrMalformed) || b != nil {
			t.Errorf("%s is encoded as %x, %v", what, b, err)
		}
	}
}

// TestListTooLong has a list whose parts are all within their limits.
func TestListTooLong(t *testing.T) {
	l := newList(t, same(set.MaxNodes, 1)...)
	long := wire.Address{Kind: wire.DNS, Name: strings.Repeat("a", wire.MaxHost), Port: 4000}
	for i := range l.Nodes {
		l.Nodes[i].Addresses = []wire.Address{long, long, long, long}
	}
	if _, err := l.AppendTo(nil); !errors.Is(err, set.ErrMalformed) {
		t.Errorf("a list of more than %d bytes: %v", set.MaxList, err)
	}
	if _, err := set.ParseList(make([]byte, set.MaxList+1)); !errors.Is(err, set.ErrMalformed) {
		t.Errorf("%d bytes: %v", set.MaxList+1, err)
	}
}

// TestListBytesRefused takes a good list's bytes, and changes, cuts or prolongs them.
func TestListBytesRefused(t *testing.T) {
	good := encoded(t, newList(t, 1, 2, 3))
	for cut := range good {
		if _, err := set.ParseList(good[:cut]); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("%d of %d bytes: %v", cut, len(good), err)
		}
	}
	if _, err := set.ParseList(append(bytes.Clone(good), 0)); !errors.Is(err, set.ErrMalformed) {
		t.Errorf("a byte more: %v", err)
	}
	for at, to := range map[int]byte{
		0:               2,   // the version
		9:               255, // how many nodes
		10 + 16:         0,   // a state
		10 + 17:         17,  // a weight
		10 + 18:         255, // how many addresses
		10 + 19:         7,   // an address's kind
		10 + 19 + 1:     0,   // its length
		10 + 19 + 2 + 2: '/', // its host
	} {
		b := bytes.Clone(good)
		b[at] = to
		if _, err := set.ParseList(b); !errors.Is(err, set.ErrMalformed) {
			t.Errorf("byte %d is %d: %v", at, to, err)
		}
	}
}

// TestPut says the same of the same nodes in any order, once and again.
func TestPut(t *testing.T) {
	var nodes []set.Node
	for i := range 20 {
		for epoch := range uint64(3) {
			nodes = append(nodes, set.Node{
				ID: nodeID(i), Epoch: epoch, State: set.Up, Weight: uint8(epoch) + 1,
				Addresses: []wire.Address{address(i)},
			})
		}
	}
	var want []byte
	for range 20 {
		l := &set.List{}
		for range 2 {
			rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
			for _, n := range nodes {
				before := l.Clone()
				known, ok := l.Find(n.ID)
				newer := !ok || known.Epoch < n.Epoch
				if l.Put(n) != newer || !newer && !reflect.DeepEqual(before, l) {
					t.Fatalf("epoch %d in place of %d", n.Epoch, known.Epoch)
				}
			}
		}
		if b := encoded(t, l); want == nil {
			want = b
		} else if !bytes.Equal(b, want) {
			t.Fatal("another order makes another list")
		}
	}
}

func TestPutRefused(t *testing.T) {
	l := newList(t, same(set.MaxNodes, 1)...)
	one := set.Node{
		ID: nodeID(1000), State: set.Up, Weight: 1, Addresses: []wire.Address{address(0)},
	}
	if l.Put(one) {
		t.Error("a full list takes another node")
	}
	if !l.Remove(nodeID(3)) || l.Remove(nodeID(3)) || len(l.Nodes) != set.MaxNodes-1 {
		t.Error("a node is not removed, or twice")
	}
	one.Weight = 0
	if l.Put(one) {
		t.Error("a list takes a node without weight")
	}
	one.Weight = 1
	if !l.Put(one) || l.Validate() != nil {
		t.Error("a list with room does not take a node")
	}
}

func TestNodeID(t *testing.T) {
	who, err := identity.ParseIdentifier("I0123456789abcdef" + strings.Repeat("f", 48))
	if err != nil {
		t.Fatal(err)
	}
	id := set.NodeIDOf(who)
	if !strings.HasPrefix(who.String(), id.String()) || id.String() != "I0123456789abcdef" {
		t.Errorf("the node of %v is %v", who, id)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte{})
	f.Add(encoded(f, &set.List{Version: 1}))
	f.Add(encoded(f, newList(f, 1, 2, 16)))
	f.Add(encoded(f, newList(f, same(set.MaxNodes, 1)...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := set.ParseList(b)
		if err != nil {
			if !errors.Is(err, set.ErrMalformed) || l != nil {
				t.Fatalf("%v, %v", l, err)
			}
			return
		}
		if again := encoded(t, l); !bytes.Equal(again, b) {
			t.Fatalf("%x is written again as %x", b, again)
		}
		for _, n := range l.Nodes {
			if found, ok := l.Find(n.ID); !ok || !found.Equal(&n) {
				t.Fatalf("%v is found as %v", n, found)
			}
		}
	})
}
