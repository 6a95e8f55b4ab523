package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/userdir"
)

// An identity file is text:
//
//	sp-identity-1
//	# identifier: I…
//	# created: 2006-01-02T15:04:05Z
//	# this file is a secret: whoever can read it can be this identity
//	secret: base64 of the seed of the current key (32 bytes)
//	history: base64 of the history, 48 bytes a line, a line each
//	checksum: SHA-256 of all lines before this one, in hexadecimal
//
// Lines end with a line feed. base64 is the standard one without padding. The contents
// determine every byte of the file, and any other file is refused.
const (
	keyFileFamily   = "sp-identity-"
	keyFileHeader   = keyFileFamily + "1"
	keyFileName     = "# identifier: "
	keyFileWarning  = "# this file is a secret: whoever can read it can be this identity\n"
	keyFileSecret   = "secret: "
	keyFileHistory  = "history: "
	keyFileChecksum = "checksum: "
	keyFileWrap     = 48 // bytes of history a line
)

// Errors of [Load] that a program may want to tell apart. A file that does not exist is
// fs.ErrNotExist; [Identity.Save] on one that does is fs.ErrExist.
var (
	ErrPermissions     = atomicfile.ErrNotPrivate
	ErrOthersWrite     = atomicfile.ErrOthersWrite
	ErrNotIdentityFile = errors.New("not an identity file")
	ErrDamaged         = errors.New("damaged: take it from a backup")
)

var keyEncoding = base64.RawStdEncoding.Strict()

// DefaultPath returns where a user's identity is kept: $SP_IDENTITY if set, else
// sp/identity in $XDG_CONFIG_HOME if set, else in ~/.config, or in the folder that
// [os.UserConfigDir] names on systems where that is not the custom.
func DefaultPath() (string, error) {
	if path := os.Getenv("SP_IDENTITY"); path != "" {
		return path, nil
	}
	return ownPath()
}

// RelayPath returns where the key of a user's relays is kept, which no other role has:
// sp/relay/identity where [DefaultPath] has sp/identity if SP_IDENTITY is not set. It has a folder
// of its own, so that a relay may read that and not the user's key.
func RelayPath() (string, error) { return inConfig(filepath.Join("relay", "identity")) }

// ownPath is [DefaultPath] whatever SP_IDENTITY is.
func ownPath() (string, error) { return inConfig("identity") }

func inConfig(name string) (string, error) {
	dir, err := userdir.Config()
	if err != nil {
		return "", fmt.Errorf("no place for an identity file: %w: set SP_IDENTITY", err)
	}
	return filepath.Join(dir, "sp", name), nil
}

// LoadOrCreate loads the identity in a file, or makes a new one and saves it there if
// there is no such file. It makes the folders on the way, mode 0700. When two do this at
// once, one creates and both return the same identity. created says whether it was us.
func LoadOrCreate(path string) (id *Identity, created bool, err error) {
	id, err = Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, fmt.Errorf("identity file %s: %w", path, err)
	}
	id, err = New(nil, time.Now())
	if err != nil {
		return nil, false, err
	}
	err = id.Save(path, false)
	if errors.Is(err, fs.ErrExist) { // somebody was faster
		id, err = Load(path)
		return id, false, err
	}
	if err != nil {
		return nil, false, err
	}
	return id, true, nil
}

// Load reads an identity file, at most [MaxKeyFile] bytes. Where files have modes it
// must be readable by its owner only, and nobody but that one and root may be able to put
// another in its place: see [atomicfile.CheckPrivate] and [atomicfile.CheckDeciding]. A
// symbolic link to it is fine. The user's own Identifier is published: see [PublicPath].
func Load(path string) (*Identity, error) {
	b, info, err := atomicfile.Read(path, MaxKeyFile)
	if err == nil {
		err = checkFamily(b) // what is no key is not to be made private
	}
	if err == nil {
		err = atomicfile.CheckPrivate(path, info)
	}
	if err == nil {
		err = atomicfile.CheckDeciding(path)
	}
	var id *Identity
	if err == nil {
		id, err = parseKeyFile(b)
	}
	if err != nil {
		return nil, fmt.Errorf("identity file %s: %w", path, err)
	}
	publishOwn(path, id.Identifier())
	return id, nil
}

// Save writes the identity file, mode 0600, whole or not at all. It replaces a file that
// is there only if force is true; else the error is fs.ErrExist, also when two processes
// save at once. The folder must exist, and nobody else may write in it. The user's own Identifier
// is published: see [PublicPath].
func (id *Identity) Save(path string, force bool) error {
	if !force {
		return id.save(path, atomicfile.Create)
	}
	unlock, err := lockKeyFile(path)
	if err != nil {
		return err
	}
	defer unlock()
	return id.save(path, atomicfile.Replace)
}

// RotateFile gives the identity in a file a new key, as [Identity.Rotate] does, and writes
// the file. Of several who rotate at once each one has its turn, and builds on the one
// before: what it returns is in the history for good. check, which may be nil, is asked about
// the identity with its new key before anything is written: an error leaves the file as it is.
func RotateFile(
	path string, random io.Reader, now time.Time, check func(*Identity) error,
) (*Identity, error) {
	unlock, err := lockKeyFile(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	id, err := Load(path)
	if err == nil {
		id, err = id.Rotate(random, now)
	}
	if err == nil && check != nil {
		err = check(id)
	}
	if err == nil {
		err = id.save(path, atomicfile.Replace)
	}
	if err != nil {
		return nil, err
	}
	return id, nil
}

// lockKeyFile keeps others from replacing the file until unlock is called.
func lockKeyFile(path string) (unlock func(), err error) {
	unlock, err = atomicfile.Lock(path, atomicfile.LockTime)
	if err != nil {
		return nil, fmt.Errorf("identity file %s: %w", path, err)
	}
	return unlock, nil
}

// save writes the file with a function of package atomicfile.
func (id *Identity) save(path string, write func(string, []byte) error) error {
	err := atomicfile.CheckDeciding(filepath.Dir(path))
	if err == nil {
		err = write(path, id.keyFile())
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("identity file %s: %w: it is not overwritten unless forced",
			path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("identity file %s: %w", path, atomicfile.WithoutPath(err))
	}
	publishOwn(path, id.Identifier())
	return nil
}

func (id *Identity) keyFile() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s%s\n", keyFileHeader, keyFileName, id.Identifier())
	fmt.Fprintf(&b, "# created: %s\n", unix(id.history.changes[0].created).Format(time.RFC3339))
	b.WriteString(keyFileWarning)
	fmt.Fprintf(&b, "%s%s\n", keyFileSecret, keyEncoding.EncodeToString(id.key().Seed()))
	for rest := id.history.raw; len(rest) > 0; {
		n := min(len(rest), keyFileWrap)
		fmt.Fprintf(&b, "%s%s\n", keyFileHistory, keyEncoding.EncodeToString(rest[:n]))
		rest = rest[n:]
	}
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "%s%s\n", keyFileChecksum, hex.EncodeToString(sum[:]))
	return b.Bytes()
}

// checkFamily tells whether a file is an identity file of some version.
func checkFamily(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: it is empty", ErrNotIdentityFile)
	case !bytes.HasPrefix(b, []byte(keyFileFamily)):
		return ErrNotIdentityFile
	}
	return nil
}

// parseKeyFile reads an identity file. Its errors quote nothing from the file.
func parseKeyFile(b []byte) (*Identity, error) {
	if err := checkFamily(b); err != nil {
		return nil, err
	}
	header, _, _ := strings.Cut(string(b[:min(len(b), 64)]), "\n")
	if header != keyFileHeader {
		return nil, fmt.Errorf("%w that this version can read: its first line is not %q",
			ErrNotIdentityFile, keyFileHeader)
	}
	body, err := checkSum(b)
	if err != nil {
		return nil, err
	}
	seed, raw, err := keyFileContents(body)
	if err != nil {
		return nil, err
	}
	history, err := ParseHistory(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	if !bytes.Equal(key.Public().(ed25519.PublicKey), history.current()) {
		return nil, fmt.Errorf("%w: the secret key is not the one its history ends with",
			ErrDamaged)
	}
	id := &Identity{history: history, key: hide(key)}
	if !bytes.Equal(id.keyFile(), b) {
		return nil, fmt.Errorf("%w: it was edited by hand", ErrDamaged)
	}
	return id, nil
}

// checkSum returns what the last line is the checksum of.
func checkSum(b []byte) (body []byte, err error) {
	i := bytes.LastIndex(b, []byte("\n"+keyFileChecksum))
	if i < 0 {
		return nil, fmt.Errorf("%w: it has no checksum, so it was cut short", ErrDamaged)
	}
	body = b[:i+1]
	sum := sha256.Sum256(body)
	if string(b[i+1:]) != keyFileChecksum+hex.EncodeToString(sum[:])+"\n" {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	return body, nil
}

func keyFileContents(body []byte) (seed, history []byte, err error) {
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSuffix(line, "\n")
		if s, ok := strings.CutPrefix(line, keyFileSecret); ok {
			seed, err = keyEncoding.DecodeString(s)
		} else if s, ok := strings.CutPrefix(line, keyFileHistory); ok {
			var part []byte
			part, err = keyEncoding.DecodeString(s)
			history = append(history, part...)
		}
		if err != nil { // of encoding/base64: it names a place and no contents
			return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if len(seed) != seedSize {
		return nil, nil, fmt.Errorf("%w: its secret key has %d bytes, want %d",
			ErrDamaged, len(seed), seedSize)
	}
	return seed, history, nil
}
