//go:build linux

package topology

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// system is where sshd and stunnel are when PATH does not name it.
var system = []string{"/usr/local/sbin", "/usr/sbin"}

// A Kit is what topologies are made from.
type Kit struct {
	Dir string // for temporary files

	programs map[string]string // name to path
	env      []string
	certs    certificates
}

// NewKit finds the programs of all topologies, in dirs first and then in PATH.
// The bench itself serves as "bench"; sp is the path of sp, or empty.
func NewKit(dir, sp string, dirs []string) (*Kit, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	k := &Kit{Dir: dir, programs: map[string]string{"bench": self}}
	for _, t := range All() {
		for _, name := range t.Needs {
			if path, ok := find(name, dirs); ok && name != "sp" && name != "bench" {
				k.programs[name] = path
			}
		}
	}
	if k.certs, err = makeCertificates(dir); err != nil {
		return nil, err
	}
	if sp != "" {
		k.programs["sp"] = sp
		return k, k.makeIdentity()
	}
	return k, nil
}

// makeIdentity gives all processes of sp the same key.
func (k *Kit) makeIdentity() error {
	file := filepath.Join(k.Dir, "sp.identity")
	out, err := exec.Command(k.programs["sp"], "identity", "create", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sp identity create: %w\n%s", err, out)
	}
	k.env = []string{"SP_IDENTITY=" + file}
	return nil
}

// Missing names a program that t needs and that is not here, or "".
func (k *Kit) Missing(t Topology) string {
	for _, name := range t.Needs {
		if k.programs[name] == "" {
			return name
		}
	}
	return ""
}

func find(name string, dirs []string) (string, bool) {
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	for _, dir := range system {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	return "", false
}
