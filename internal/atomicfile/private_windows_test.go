package atomicfile

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// TestPrivateInOpenFolder has what is made in a folder that everybody uses be private all the same.
func TestPrivateInOpenFolder(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	everybody, err := windows.SecurityDescriptorFromString("D:(A;OICI;FA;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := everybody.DACL()
	if err != nil {
		t.Fatal(err)
	}
	if err := windows.SetNamedSecurityInfo(open, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION, nil, nil, list, nil); err != nil {
		t.Fatal(err)
	}
	if CheckPrivate(open, nil) == nil {
		t.Fatal("the folder is not open")
	}
	for name, make := range map[string]func(path string) error{
		"created":  func(path string) error { return Create(path, []byte("secret")) },
		"replaced": func(path string) error { return Replace(path, []byte("secret")) },
		"marked":   func(path string) error { return Mark(path, []byte("secret")) },
		"folder":   MakeDir,
	} {
		path := filepath.Join(open, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := CheckPrivate(path, nil); err != nil {
			t.Error(err)
		}
	}
	path := filepath.Join(open, "read by all")
	if err := ReplaceOpen(path, nil); err != nil {
		t.Fatal(err)
	}
	if CheckPrivate(path, nil) == nil {
		t.Error("a file that is to be read by all is not")
	}
}
