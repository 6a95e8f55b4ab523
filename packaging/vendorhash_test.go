package packaging_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// nar writes what Nix hashes of a folder: names, contents, and which files are programs.
type nar struct{ h hash.Hash }

func (n nar) words(all ...string) {
	for _, word := range all {
		n.h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(word))))
		n.h.Write([]byte(word))
		n.h.Write(make([]byte, -len(word)&7))
	}
}

func (n nar) file(t *testing.T, path string) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	n.words("(", "type")
	switch {
	case info.IsDir():
		n.words("directory")
		entries, err := os.ReadDir(path) // in the order of their names, as Nix has them
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			n.words("entry", "(", "name", entry.Name(), "node")
			n.file(t, filepath.Join(path, entry.Name()))
			n.words(")")
		}
	case info.Mode().IsRegular():
		n.words("regular")
		if info.Mode()&0o100 != 0 {
			n.words("executable", "")
		}
		n.words("contents", text(t, path))
	default:
		t.Fatalf("%s is neither a file nor a folder", path)
	}
	n.words(")")
}

// hashed is a folder's, as a recipe for Nix has it.
func hashed(t *testing.T, folder string) string {
	t.Helper()
	n := nar{sha256.New()}
	n.words("nix-archive-1")
	n.file(t, folder)
	return "sha256-" + base64.StdEncoding.EncodeToString(n.h.Sum(nil))
}

// TestHashOfNothing has the hash that Nix says an empty folder has.
func TestHashOfNothing(t *testing.T) {
	want := "sha256-pQpattmS9VmO3ZIQUFn66az8GSmB4IvYhTTCFn6SUmo="
	if got := hashed(t, t.TempDir()); got != want {
		t.Errorf("%s, and it is %s", got, want)
	}
}

// TestNixVendorHash has Nix take the modules that are used here, and no others.
func TestNixVendorHash(t *testing.T) {
	if !testenv.CI() && !testenv.Full() {
		t.Skip("it asks for modules that nothing else here needs: SP_FULL=1 does")
	}
	folder := filepath.Join(t.TempDir(), "vendor")
	vendor := exec.Command("go", "mod", "vendor", "-o", folder)
	vendor.Dir = ".."
	if out, err := vendor.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := hashed(t, folder)
	if got := first(t, `vendorHash = "([^"]+)"`, text(t, "nix/package.nix")); got != want {
		t.Errorf("nix/package.nix has vendorHash = %q, and it is %q", got, want)
	}
}
