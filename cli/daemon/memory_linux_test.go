package daemon

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/budget"
)

// The lowest limit of all control groups around the process counts, in either version of the
// kernel's files, and none that is more than the machine has.
func TestAvailableMemory(t *testing.T) {
	const machine = "MemFree: 1 kB\nMemTotal:       1048576 kB\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  memory
	}{
		"nothing": {nil, memory{}},
		"no groups": {
			map[string]string{"proc/meminfo": machine}, memory{0, 1 << 30},
		},
		"version 2": {
			map[string]string{
				"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n",
				"sys/fs/cgroup/a/memory.max":    "67108864\n",
				"sys/fs/cgroup/a/b/memory.max":  "max\n",
				"sys/fs/cgroup/a/b/memory.high": "134217728\n",
			}, memory{64 << 20, 1 << 30},
		},
		"version 2 in a container": {
			map[string]string{
				"proc/self/cgroup":         "0::/../../docker/c\n",
				"sys/fs/cgroup/memory.max": "67108864\n",
			}, memory{64 << 20, 0},
		},
		"version 1": {
			map[string]string{
				"proc/meminfo":     machine,
				"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
				"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "67108864\n",
			}, memory{64 << 20, 1 << 30},
		},
		"more than there is": {
			map[string]string{
				"proc/meminfo": machine, "proc/self/cgroup": "0::/\n",
				"sys/fs/cgroup/memory.max": "99999999999\n",
			}, memory{0, 1 << 30},
		},
		"nonsense": {
			map[string]string{
				"proc/meminfo": "MemTotal: much\n", "proc/self/cgroup": "0\n:::\n4:memory\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "-1\n",
			}, memory{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range test.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := availableMemory(root); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// What the user says goes before the control group, and Go's own variable before both.
func TestMemoryIsShared(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	defer budget.SetProcess(0)
	for name, test := range map[string]struct {
		m           memory
		flag, env   string
		most, limit int64 // limit 0 is what it was before
	}{
		"unlimited":     {memory{0, 32 << 30}, "", "", budget.DefaultMost, 0},
		"small machine": {memory{0, 256 << 20}, "", "", 64 << 20, 0},
		"group":         {memory{64 << 20, 32 << 30}, "", "", 16 << 20, 48 << 20},
		"flag":          {memory{64 << 20, 32 << 30}, "128M", "", 32 << 20, 96 << 20},
		"variable":      {memory{64 << 20, 32 << 30}, "", "1GiB", 16 << 20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(goMemoryLimit, test.env)
			debug.SetMemoryLimit(before)
			test.m.share(config.Node{Limits: config.Limits{Memory: test.flag}})
			if got := budget.Process.Most(); got != test.most {
				t.Errorf("connections may take %d bytes, want %d", got, test.most)
			}
			want := test.limit
			if want == 0 {
				want = before
			}
			if got := debug.SetMemoryLimit(-1); got != want {
				t.Errorf("Go's limit is %d, want %d", got, want)
			}
		})
	}
}
