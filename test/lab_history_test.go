//go:build unix

package test

import (
	"bufio"
	"slices"
	"strings"
	"testing"
	"time"
)

// possession is that somebody has a name on a relay for a while.
type possession struct {
	name, who string
	relay     int
	from, to  time.Time
	lasts     bool // when it was looked at last, which is to
}

// history returns who has had which name on which relay since the beginning, as the relays have
// logged it.
func (s *relaySet) history() (all []possession) {
	for _, r := range s.all {
		for _, p := range r.former {
			all = append(all, possessions(r.number, p.stderr.String(), false)...)
		}
		if r.process != nil {
			all = append(all, possessions(r.number, r.stderr.String(), r.up)...)
		}
	}
	return all
}

// possessions reads the log of a relay that still runs, or has written its last line when it ended.
func possessions(relay int, log string, runs bool) (all []possession) {
	type key struct{ name, who string }
	open := make(map[key]*possession)
	held := make(map[key]int) // of several claims of an identity, the later one takes over
	var at time.Time
	end := func(k key, lasts bool) {
		p := open[k]
		delete(open, k)
		p.to, p.lasts = at, lasts
		all = append(all, *p)
	}
	lines := bufio.NewScanner(strings.NewReader(log))
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "time=")
		if !ok {
			continue
		}
		stamp, text, _ := strings.Cut(text, " ")
		then, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			continue
		}
		at = then
		k := key{valueIn(text, "name"), valueIn(text, "identifier")}
		switch {
		case strings.Contains(text, `msg="outlet registered"`):
			if held[k]++; held[k] == 1 {
				open[k] = &possession{name: k.name, who: k.who, relay: relay, from: at}
			}
		case strings.Contains(text, `msg="outlet gone"`) && held[k] > 0:
			if held[k]--; held[k] == 0 {
				end(k, false)
			}
		}
	}
	if runs {
		at = time.Now()
	}
	for k := range open {
		end(k, runs)
	}
	return all
}

// valueIn returns the value of a key in a line of a log.
func valueIn(line, key string) string {
	_, value, _ := strings.Cut(line, " "+key+"=")
	value, _, _ = strings.Cut(value, " ")
	return value
}

// TestPossessions reads a log in which somebody claims a name again before he has lost it, somebody
// else loses it, and the relay ends.
func TestPossessions(t *testing.T) {
	t.Parallel()
	second := func(n int) time.Time { return time.Date(2026, 1, 2, 3, 4, n, 0, time.UTC) }
	log := ""
	for i, text := range []string{
		`msg="outlet registered" name=a identifier=I1 source=x`,
		`msg="outlet registered" name=a identifier=I1 source=x`,
		`msg="outlet gone" name=a identifier=I1`,
		`msg="outlet gone" name=b identifier=I2`,
		`msg="outlet registered" name=b identifier=I2 source=x`,
		`msg="outlet gone" name=b identifier=I2`,
		`msg="something else" name=b identifier=I2`,
	} {
		log += "time=" + second(i).Format(time.RFC3339Nano) + " level=INFO " + text + "\n"
	}
	want := []possession{
		{"b", "I2", 7, second(4), second(5), false}, {"a", "I1", 7, second(0), second(6), false},
	}
	if got := possessions(7, log, false); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := possessions(7, log, true); !got[1].lasts || got[0] != want[0] {
		t.Errorf("of a relay that runs: %+v", got)
	}
}
