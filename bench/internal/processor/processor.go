// Package processor says what the figures of a run depend on most: which processor
// it ran on, and how fast that seals.
//
// It knows nothing of tunnels.
package processor

import (
	"os"
	"runtime"
	"slices"
	"strings"
)

// instructions are what /proc/cpuinfo calls those that AES-GCM is fast with: AES
// and the carry-less multiplication of GHASH, on x86 and on ARM. A processor without
// them computes AES-GCM in software, some twenty times slower.
var instructions = []string{"aes", "pclmulqdq", "vaes", "vpclmulqdq", "pmull"}

// A Processor is what Linux says of the first core.
type Processor struct {
	Model        string
	Instructions []string // of those above; empty if there are none
}

// Here is the processor this runs on. What cannot be read is left out.
func Here() Processor {
	info, _ := os.ReadFile("/proc/cpuinfo")
	p := parse(string(info))
	if p.Model == "" {
		p.Model = runtime.GOARCH // ARM's /proc/cpuinfo has numbers only
	}
	return p
}

// parse reads the first core of proc_cpuinfo(5).
func parse(cpuinfo string) Processor {
	var p Processor
	first, _, _ := strings.Cut(cpuinfo, "\n\n")
	for line := range strings.Lines(first) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "model name":
			p.Model = strings.TrimSpace(value)
		case "flags", "features":
			has := strings.Fields(value)
			for _, name := range instructions {
				if slices.Contains(has, name) {
					p.Instructions = append(p.Instructions, name)
				}
			}
		}
	}
	return p
}
