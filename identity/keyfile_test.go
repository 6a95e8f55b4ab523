package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/atomicfile"
)

func TestKeyFile(t *testing.T) {
	id := rotated(t, newIdentity(t, "a"), "b")
	path := filepath.Join(t.TempDir(), "identity")
	if err := id.Save(path, false); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Identifier() != id.Identifier() || !bytes.Equal(got.key(), id.key()) ||
		!bytes.Equal(got.History().Bytes(), id.History().Bytes()) {
		t.Error("what was loaded is not what was saved")
	}
	text := string(read(t, path))
	for _, want := range []string{
		"sp-identity-1\n",
		"# identifier: " + id.Identifier().String() + "\n",
		"# created: 2026-02-03T04:05:06Z\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the file does not say %q:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > 80 {
			t.Errorf("a line has %d characters", len(line))
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files left behind: %v", entries)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err == nil {
		if _, err := Load(link); err != nil {
			t.Errorf("through a symbolic link: %v", err)
		}
	}
}

func TestKeyFileIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes here")
	}
	path := filepath.Join(t.TempDir(), "identity")
	if err := newIdentity(t, "a").Save(path, false); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode is %v (%v), want 0600", info.Mode(), err)
	}
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{
		0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777,
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		wantErr(t, err, ErrPermissions,
			fmt.Sprintf(`its mode is %04o: run "chmod 600 %s"`, mode, path))
		_, _, err = LoadOrCreate(path)
		wantErr(t, err, ErrPermissions, "chmod 600")
	}
}

func TestKeyFileIsNotOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	first, second := newIdentity(t, "a"), newIdentity(t, "b")
	if err := first.Save(path, false); err != nil {
		t.Fatal(err)
	}
	wantErr(t, second.Save(path, false), fs.ErrExist, "not overwritten unless forced")
	if got, err := Load(path); err != nil || got.Identifier() != first.Identifier() {
		t.Fatalf("the file was changed: %v, %v", got, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Skip("no symbolic links here")
	}
	wantErr(t, second.Save(link, false), fs.ErrExist, "not overwritten")
	if err := second.Save(link, true); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || got.Identifier() != second.Identifier() {
		t.Errorf("forced through a link, the file itself is not replaced: %v, %v", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files left behind: %v", entries)
	}
}

func TestLoadOrCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config", "sp", "identity")
	var created atomic.Int32
	var wg sync.WaitGroup
	ids := make([]Identifier, 16)
	start := make(chan struct{})
	for i := range ids {
		wg.Go(func() {
			<-start
			id, made, err := LoadOrCreate(path)
			if err != nil {
				t.Error(err)
				return
			}
			if made {
				created.Add(1)
			}
			ids[i] = id.Identifier()
		})
	}
	close(start)
	wg.Wait()
	if created.Load() != 1 {
		t.Errorf("%d created the file, want 1", created.Load())
	}
	for _, id := range ids {
		if id != ids[0] || id.IsZero() {
			t.Fatalf("not all have the same identity: %v", ids)
		}
	}
	for d := filepath.Dir(path); d != dir; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err != nil ||
			runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v, want 0700", d, info.Mode(), err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files left behind: %v", entries)
	}
}

// When many save different identities, one wins and the others are told.
func TestSaveIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	var saved atomic.Int32
	var wg sync.WaitGroup
	for _, name := range names("id", 16) {
		id := newIdentity(t, name)
		wg.Go(func() {
			if err := id.Save(path, false); err == nil {
				saved.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if saved.Load() != 1 {
		t.Errorf("%d saved, want 1", saved.Load())
	}
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
}

func TestKeyFileMangled(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "a")
	file := id.keyFile()
	mangle(t, file, func(b []byte) error {
		got, err := parseKeyFile(b)
		if err != nil && leaks(err.Error(), id.key()) {
			t.Errorf("an error shows the key: %v", err)
		}
		if err == nil && !bytes.Equal(got.keyFile(), b) {
			t.Error("the file is not what its contents encode to")
		}
		return err
	})
}

// The error tells a file that was something else from one that was damaged.
func TestKeyFileErrors(t *testing.T) {
	id, other := newIdentity(t, "a"), newIdentity(t, "b")
	good := string(id.keyFile())
	resum := func(s string) string { // with a checksum that matches
		body, _, _ := strings.Cut(s, keyFileChecksum)
		return body + keyFileChecksum + sha256Hex(body) + "\n"
	}
	if resum(good) != good {
		t.Fatal("the test's checksum is not the file's")
	}
	secret := keyEncoding.EncodeToString(id.key().Seed())
	for _, test := range []struct {
		name, file string
		target     error
		want       string
	}{
		{"empty", "", ErrNotIdentityFile, "it is empty"},
		{
			"ssh key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", ErrNotIdentityFile,
			"not an identity file",
		},
		{"binary", "\x00\x01\x02", ErrNotIdentityFile, "not an identity file"},
		{
			"later version", strings.Replace(good, "sp-identity-1", "sp-identity-2", 1),
			ErrNotIdentityFile, "this version",
		},
		{"cut short", good[:200], ErrDamaged, "cut short"},
		{"header only", keyFileHeader + "\n", ErrDamaged, "cut short"},
		{
			"a letter changed", strings.Replace(good, "created", "crewted", 1), ErrDamaged,
			"checksum does not match",
		},
		{
			"secret missing", resum(strings.Replace(good, "\n"+keyFileSecret, "\n", 1)), ErrDamaged,
			"secret key has 0 bytes",
		},
		{
			"secret not base64", resum(strings.Replace(good, secret, "?"+secret[1:], 1)),
			ErrDamaged, "damaged",
		},
		{
			"another's secret",
			resum(strings.Replace(good, secret, keyEncoding.EncodeToString(other.key().Seed()), 1)),
			ErrDamaged, "not the one its history ends with",
		},
		{
			"history missing", resum(strings.ReplaceAll(good, keyFileHistory, "# ")), ErrDamaged,
			"history: cut short",
		},
		{
			"comment edited", resum(strings.Replace(good, "# created: 2026", "# created: 2027", 1)),
			ErrDamaged, "edited by hand",
		},
		{
			"comment added", resum(strings.Replace(good, "# created", "# mine\n# created", 1)),
			ErrDamaged, "edited by hand",
		},
		{
			"carriage returns", strings.ReplaceAll(good, "\n", "\r\n"), ErrNotIdentityFile,
			"first line",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writeTemp(t, "identity", test.file)
			_, err := Load(path)
			wantErr(t, err, test.target, test.want)
			if leaks(err.Error(), id.key()) || strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the key: %v", err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			if _, _, err := LoadOrCreate(path); err == nil {
				t.Error("a new identity was made in place of a bad file")
			}
			if got := string(read(t, path)); got != test.file {
				t.Error("the file was changed")
			}
		})
	}
}

func TestLoadRefusesOtherThanFiles(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "missing"))
	wantErr(t, err, fs.ErrNotExist, "missing")
	_, err = Load(dir)
	wantErr(t, err, atomicfile.ErrNotRegular, "not a regular file")
	big := writeTemp(t, "identity", strings.Repeat("x", MaxKeyFile+1))
	_, err = Load(big)
	wantErr(t, err, nil, "at most 16384")
	wantErr(t, newIdentity(t, "a").Save(filepath.Join(dir, "no", "folder"), false), fs.ErrNotExist,
		"identity file")
}

func TestKeyFileFitsItsLimit(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "a")
	for _, name := range names("key", MaxChanges-1) {
		id = rotated(t, id, name)
	}
	path := filepath.Join(t.TempDir(), "identity")
	if err := id.Save(path, false); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || got.History().Len() != MaxChanges {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDefaultPath(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		t.Skip("another custom here")
	}
	for _, test := range []struct{ sp, xdg, home, want string }{
		{"/a/b", "/xdg", "/home/u", "/a/b"},
		{"", "/xdg", "/home/u", "/xdg/sp/identity"},
		{"", "", "/home/u", "/home/u/.config/sp/identity"},
		{"", "relative", "/home/u", ""},
		{"", "", "", ""},
	} {
		t.Setenv("SP_IDENTITY", test.sp)
		t.Setenv("XDG_CONFIG_HOME", test.xdg)
		t.Setenv("HOME", test.home)
		got, err := DefaultPath()
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "set SP_IDENTITY") {
			t.Errorf("the error does not say what to do: %v", err)
		}
		relay, err := RelayPath() // whatever SP_IDENTITY is
		if err == nil && relay != filepath.Join(test.xdg, "sp/relay/identity") &&
			relay != filepath.Join(test.home, ".config/sp/relay/identity") {
			t.Errorf("%+v: a relay's is %q", test, relay)
		}
	}
}

// The secret is in the file once, as the format says, and nowhere else.
func TestKeyFileHasTheSecretOnce(t *testing.T) {
	id := newIdentity(t, "a")
	text := string(id.keyFile())
	if n := strings.Count(text, base64.RawStdEncoding.EncodeToString(id.key().Seed())); n != 1 {
		t.Errorf("the secret is there %d times", n)
	}
	if strings.Contains(text, hex.EncodeToString(id.key().Seed())) {
		t.Error("the secret is there in hexadecimal")
	}
}

// Every rotation that is reported is in the history, also of several at once.
func TestRotateFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first := newIdentity(t, "first")
	if err := first.Save(path, false); err != nil {
		t.Fatal(err)
	}
	const people = 12
	var wg sync.WaitGroup
	var mu sync.Mutex
	keys := make(map[string]bool)
	for range people {
		wg.Go(func() {
			id, err := RotateFile(path, nil, t0, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			keys[string(id.History().PublicKey())] = true
		})
	}
	wg.Wait()
	id, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range id.History().Changes()[1:] {
		delete(keys, string(change.PublicKey))
	}
	if len(keys) > 0 || id.History().Len() != 1+people {
		t.Errorf("%d keys are gone of %d", len(keys), id.History().Len()-1)
	}
}

// A key is refused where others can put another in its place, and not saved there.
func TestKeyFileFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := newIdentity(t, "first").Save(path, false); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	wantErr(t, err, ErrOthersWrite, "chmod go-w "+dir)
	_, err = RotateFile(path, nil, t0, nil)
	wantErr(t, err, ErrOthersWrite, dir)
	wantErr(t, newIdentity(t, "second").Save(path+"2", false), ErrOthersWrite, dir)
	_, _, err = LoadOrCreate(path + "3")
	wantErr(t, err, ErrOthersWrite, dir)
}

// Whoever names a file that is no key is told that, and not to make it private.
func TestNoKeyFileIsNotMadePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	for _, text := range []string{"root:x:0:0::/root:/bin/sh\n", "", "sp-ticket-1:AAAA"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		wantErr(t, err, ErrNotIdentityFile, "not an identity file")
		if errors.Is(err, ErrPermissions) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A rotation that is refused leaves the file as it is.
func TestRotateFileRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	if err := newIdentity(t, "a").Save(path, false); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuse := errors.New("it would not fit")
	_, err = RotateFile(path, nil, t0, func(id *Identity) error {
		if id.History().Len() != 2 {
			t.Errorf("asked about %d changes", id.History().Len())
		}
		return refuse
	})
	if !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file is another: %v", err)
	}
}

// ProofSize is what Prove makes.
func TestProofSize(t *testing.T) {
	id := newIdentity(t, "a")
	var credentials [][]byte
	for i := range 3 {
		proof, err := id.Prove(Initiator, testHash, credentials, nil)
		if err != nil || len(proof) != ProofSize(id.History(), credentials) {
			t.Errorf("%d bytes, want %d: %v", ProofSize(id.History(), credentials), len(proof), err)
		}
		credentials = append(credentials, issued(t, newIdentity(t, "boss"), id.Identifier()).Bytes())
		id = rotated(t, id, fmt.Sprint("next ", i))
	}
	for id.History().Len() < MaxChanges {
		id = rotated(t, id, fmt.Sprint("change ", id.History().Len()))
	}
	if n := ProofSize(id.History(), nil); n != MaxProofAlone {
		t.Errorf("the longest history makes %d bytes, want %d", n, MaxProofAlone)
	}
}
