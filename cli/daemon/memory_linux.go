package daemon

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// availableMemory returns how much memory there is for this process, by the files of the kernel
// below root.
func availableMemory(root string) memory {
	m := memory{machine: machineMemory(filepath.Join(root, "proc/meminfo"))}
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(groups)) {
		number, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch {
		case number == "0" && controllers == "":
			m.allow(root, "sys/fs/cgroup", group, "memory.max")
			m.allow(root, "sys/fs/cgroup", group, "memory.high")
		case strings.Contains(","+controllers+",", ",memory,"):
			m.allow(root, "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
		}
	}
	return m
}

// allow takes note of what a control group and those around it allow. One that cannot be seen from
// inside a container counts as the one at the top, which the container's own looks like there.
func (m *memory) allow(root, hierarchy, group, file string) {
	for at := path.Clean("/" + group); ; at = path.Dir(at) {
		text, err := os.ReadFile(filepath.Join(root, hierarchy, at, file))
		if err == nil {
			limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && limit > 0 && (m.machine == 0 || limit < m.machine) {
				m.allowed = least(m.allowed, limit)
			}
		}
		if at == "/" {
			return
		}
	}
}

// machineMemory reads the machine's memory, or returns 0.
func machineMemory(file string) int64 {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}
