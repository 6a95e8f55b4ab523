//go:build linux

package topology

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// system is where sshd and stunnel are when PATH does not name it.
var system = []string{"/usr/local/sbin", "/usr/sbin"}

// The names of sp's two builds, in what a topology needs. Without a comparison,
// spAfter is the one there is.
const (
	spAfter  = "sp"
	spBefore = "sp-before"
)

// Builds are the paths of the builds of sp that are measured; "" is one that is not.
type Builds struct {
	After, Before string
}

// A Kit is what topologies are made from.
type Kit struct {
	Dir string // for temporary files

	programs map[string]string   // name to path
	env      map[string][]string // what a program has in its environment besides the bench's
	certs    certificates
}

// NewKit finds the programs of all topologies, in dirs first and then in PATH.
// The bench itself serves as "bench".
func NewKit(dir string, builds Builds, dirs []string) (*Kit, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	k := &Kit{
		Dir:      dir,
		programs: map[string]string{"bench": self},
		env:      make(map[string][]string),
	}
	for _, t := range All() {
		for _, name := range t.Needs {
			if path, ok := find(name, dirs); ok && name != spAfter && name != "bench" {
				k.programs[name] = path
			}
		}
	}
	if k.certs, err = makeCertificates(dir); err != nil {
		return nil, err
	}
	return k, errors.Join(k.addBuild(spAfter, builds.After), k.addBuild(spBefore, builds.Before))
}

// addBuild gives all processes of a build the same key, made by that build.
func (k *Kit) addBuild(name, path string) error {
	if path == "" {
		return nil
	}
	file := filepath.Join(k.Dir, name+".identity")
	out, err := exec.Command(path, "identity", "create", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s identity create: %w\n%s", path, err, out)
	}
	k.programs[name] = path
	k.env[name] = []string{"SP_IDENTITY=" + file}
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
