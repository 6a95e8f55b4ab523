package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// blockOf returns the block of a page that begins so.
func blockOf(t *testing.T, page, begins string) string {
	t.Helper()
	for _, b := range readBlocks(t, filepath.Join("..", page)) {
		if strings.HasPrefix(b.lines[0], begins) {
			return strings.Join(b.lines, "\n") + "\n"
		}
	}
	t.Fatalf("%s has no block that begins with %q", page, begins)
	return ""
}

// TestPageFiles has the programs that read them look at the files that pages show, as far as these
// programs can be had.
func TestPageFiles(t *testing.T) {
	t.Parallel()
	replace := strings.NewReplacer("/usr/local/bin/sp", executable(t))
	for _, f := range []struct {
		page, begins, name string
		before, behind     string // what the page leaves out
		program            []string
	}{
		{page: "docs/cluster.md", begins: "[Service]", name: "sp-relay.service", program: []string{
			"systemd-analyze", "verify", "FILE",
		}},
		{page: "docs/services.md", begins: "[Socket]", name: "sp.socket", program: []string{
			"systemd-analyze", "verify", "FILE",
		}},
		{
			page: "docs/metrics.md", begins: "scrape_configs:", name: "prometheus.yml",
			program: []string{"promtool", "check", "config", "--syntax-only", "FILE"},
		},
		{
			page: "docs/topologies.md", begins: "location /sp {", name: "nginx.conf",
			before: "error_log stderr; pid nginx.pid; events {} http { server { listen 127.0.0.1:1; ",
			behind: "} }", program: []string{"nginx", "-t", "-p", "FOLDER", "-c", "FILE"},
		},
	} {
		t.Run(f.page+" "+f.name, func(t *testing.T) {
			t.Parallel()
			tool := testenv.NeedTool(t, f.program[0])
			folder := t.TempDir()
			file := filepath.Join(folder, f.name)
			text := f.before + replace.Replace(blockOf(t, f.page, f.begins)) + f.behind
			write(t, file, []byte(text))
			if f.name == "sp.socket" { // it is for a service
				write(t, filepath.Join(folder, "sp.service"),
					[]byte("[Service]\nExecStart="+executable(t)+" up\n"))
			}
			args := strings.Split(strings.NewReplacer("FILE", file, "FOLDER", folder).
				Replace(strings.Join(f.program[1:], "\n")), "\n")
			out, err := exec.Command(tool, args...).CombinedOutput()
			if err != nil || f.program[0] == "systemd-analyze" && strings.Contains(string(out), f.name) {
				t.Errorf("%v\n%s\n%s", err, out, text)
			}
		})
	}
}
