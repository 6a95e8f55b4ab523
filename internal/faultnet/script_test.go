package faultnet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// run feeds a script in pieces of the sizes that cut gives, and returns what it
// passes, with each fault that steers in braces, and what has fired.
func run(plan Plan, split Splitter, in []byte, cut func() int) (string, []Fault) {
	var out strings.Builder
	var fired []Fault
	s := newScript(plan, ClientToServer, split, func(a act) {
		if a.fault != nil {
			fmt.Fprintf(&out, "{%s}", a.fault.Kind)
			return
		}
		out.Write(a.data)
	}, func(f Fault) { fired = append(fired, f) })
	in = bytes.Clone(in)
	s.feed(nil)
	for len(in) > 0 {
		n := min(cut(), len(in))
		s.feed(in[:n])
		in = in[n:]
	}
	s.end()
	return out.String(), fired
}

func whole() int  { return 1 << 20 }
func single() int { return 1 }

func TestScript(t *testing.T) {
	const in = "ab\ncde\nf\ngh\n"
	for _, tt := range []struct {
		plan, want string
		fired      int
	}{
		{"", in, 0},
		{"flip c2s byte 0 mask 0x20", "Ab\ncde\nf\ngh\n", 1},
		{"flip c2s byte 4", "ab\ncee\nf\ngh\n", 1},
		{"flip s2c byte 4", in, 0},
		{"flip c2s byte 12", in, 0},
		{"drop c2s byte 1 len 4", "ae\nf\ngh\n", 1},
		{"drop c2s byte 1", "a\ncde\nf\ngh\n", 1},
		{"duplicate c2s byte 3 len 3", "ab\ncdecde\nf\ngh\n", 1},
		{"duplicate c2s byte 10 len 3", in, 0},
		{"reorder c2s byte 3", "ab\ndce\nf\ngh\n", 1},
		{"reorder c2s byte 3 len 2", "ab\ne\ncdf\ngh\n", 1},
		{"reorder c2s byte 10 len 2", in, 0},
		{"truncate c2s byte 5", "ab\ncd{truncate}", 1},
		{"end c2s byte 5", "ab\ncd{end}", 1},
		{"cut c2s byte 0", "{cut}", 1},
		{"reset c2s byte 12", in + "{reset}", 1},
		{"halfopen c2s byte 13", in, 0},
		{"blackhole c2s byte 3 for 1s; flip c2s byte 3", "ab\n{blackhole}bde\nf\ngh\n", 2},
		{
			"delay c2s byte 1 for 1s; bandwidth c2s byte 1 rate 5",
			"a{delay}{bandwidth}b\ncde\nf\ngh\n", 2,
		},
		{"cut c2s byte 2; flip c2s byte 5; reset c2s byte 2", "ab{cut}", 1},
		{"drop c2s byte 0; drop c2s byte 1; flip c2s byte 2 mask 1", "\x0bcde\nf\ngh\n", 3},

		{"flip c2s msg 1", "ab\nbde\nf\ngh\n", 1},
		{"flip c2s msg 1 off 1", "ab\ncee\nf\ngh\n", 1},
		{"flip c2s msg 1 off -1 mask 1", "ab\ncde\x0bf\ngh\n", 1},
		{"flip c2s msg 2 off 99 mask 1", "ab\ncde\nf\x0bgh\n", 1},
		{"flip c2s msg 4", in, 0},
		{"drop c2s msg 0", "cde\nf\ngh\n", 1},
		{"drop c2s msg 3", "ab\ncde\nf\n", 1},
		{"duplicate c2s msg 1", "ab\ncde\ncde\nf\ngh\n", 1},
		{"reorder c2s msg 1", "ab\nf\ncde\ngh\n", 1},
		{"reorder c2s msg 3", in, 0},
		{"reorder c2s msg 0; reorder c2s msg 1", "f\nab\ncde\ngh\n", 2},
		{"reorder c2s msg 0; drop c2s msg 1", "ab\nf\ngh\n", 2},
		{"truncate c2s msg 1 off 2", "ab\ncdf\ngh\n", 1},
		{"truncate c2s msg 1 off 99", "ab\ncdef\ngh\n", 1},
		{"truncate c2s msg 1; flip c2s msg 1", "ab\nf\ngh\n", 2},
		{"cut c2s msg 1", "ab\n{cut}", 1},
		{"cut c2s msg 1 off 2", "ab\ncd{cut}", 1},
		{"cut c2s msg 1 off -1", "ab\ncde{cut}", 1},
		{"reset c2s msg 4", in + "{reset}", 1},
		{"flip c2s msg 1; duplicate c2s msg 1", "ab\nbde\nbde\nf\ngh\n", 2},
		{"drop c2s msg 0; flip c2s byte 0", "bde\nf\ngh\n", 2},
	} {
		t.Run(tt.plan, func(t *testing.T) {
			plan, err := ParsePlan(tt.plan)
			if err != nil {
				t.Fatal(err)
			}
			for _, cut := range []func() int{whole, single} {
				got, fired := run(plan, Lines, []byte(in), cut)
				if got != tt.want || len(fired) != tt.fired {
					t.Errorf("got %q, %d fired, want %q, %d", got, len(fired), tt.want, tt.fired)
				}
			}
		})
	}
}

// What comes out does not depend on how the bytes were grouped, and a replay
// from the printed plan is the same.
func TestScriptIsDeterministic(t *testing.T) {
	in := testkit.Pattern(1 << 14)
	for seed := range Seeds(t, 100) {
		for _, unit := range []Unit{Byte, Message} {
			plan := RandomPlan(seed, RandomOptions{Unit: unit, Span: 1 << (14 - 6*unit), Faults: 8})
			again, err := ParsePlan(plan.String())
			if err != nil || !reflect.DeepEqual(plan, again) {
				t.Fatalf("seed %d: %q parsed as %q, %v", seed, plan, again, err)
			}
			want, wantFired := run(plan, Frames(1, 0), in, whole)
			r := rand.New(rand.NewPCG(seed, 0))
			got, fired := run(again, Frames(1, 0), in, func() int { return 1 + r.IntN(700) })
			if got != want || !reflect.DeepEqual(fired, wantFired) {
				t.Fatalf("seed %d, plan %q: not the same in other pieces", seed, plan)
			}
		}
	}
}

func TestNoMessageFound(t *testing.T) {
	in := testkit.Pattern(maxHold + 10)
	never := func([]byte) int { return 0 }
	chunk := func() int { return chunkSize }
	got, fired := run(Plan{{Kind: Drop, Unit: Message, At: 0}}, never, in, chunk)
	if got != string(in) || fired != nil {
		t.Errorf("passed %d bytes of %d, fired %v", len(got), len(in), fired)
	}
}

func TestSplitters(t *testing.T) {
	split := InTurn(Lines, Frames(2, 1), Frames(1, 0))
	in := []byte("hi\n\x00\x02abc\x01z\x00")
	var got []string
	for n := 0; ; {
		n++
		if n > len(in) {
			break
		}
		if k := split(in[:n]); k > 0 {
			got, in, n = append(got, string(in[:k])), in[k:], 0
		}
	}
	if want := []string{"hi\n", "\x00\x02abc", "\x01z", "\x00"}; !reflect.DeepEqual(got, want) {
		t.Errorf("split into %q, want %q", got, want)
	}
	if n := Frames(8, 0)([]byte("\xff\xff\xff\xff\xff\xff\xff\xff....")); n != 0 {
		t.Errorf("a huge length gave %d", n)
	}
}
