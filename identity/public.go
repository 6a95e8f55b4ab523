package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/secureportal/sp/internal/atomicfile"
)

// The Identifier of a user's own identity is no secret, and lies in a file apart: a line of its
// own, as in a list of whom to trust. So who has to know whose a machine is, as a relay has, need
// not be able to read the key. Whoever loads or saves the user's own key file, at [DefaultPath]
// without SP_IDENTITY, has the other one follow it.

const (
	publicFolderMode = 0o755
	maxPublicFile    = identifierText + 1 // what has more is wrong
)

// PublicPath returns where the Identifier of a user's own identity is published:
// sp/public/identity where [DefaultPath] has sp/identity if SP_IDENTITY is not set. It has a
// folder of its own, so that a process may read that, and not the key.
func PublicPath() (string, error) { return inConfig(filepath.Join("public", "identity")) }

// FriendsPath returns where a user's own friends are named, a line each: sp/public/friends beside
// what [PublicPath] returns. It need not be there.
func FriendsPath() (string, error) { return inConfig(filepath.Join("public", "friends")) }

// PublishOwn publishes the Identifier of the user's own identity, and returns it. It does not read
// the key, and so has only the key file's word for the Identifier: whoever can write that file
// decides who the user is anyway. If the Identifier is zero there is none, and the error is
// fs.ErrNotExist, or what is wrong with the key file; otherwise an error is that it could not be
// published.
func PublishOwn() (Identifier, error) {
	path, err := ownPath()
	if err != nil {
		return Identifier{}, err
	}
	id, err := readIdentifier(path)
	if err != nil {
		return Identifier{}, fmt.Errorf("identity file %s: %w", path, err)
	}
	return id, publish(id)
}

// MakePublicFolder makes the folder that [PublicPath] is in, for who wants to watch it.
func MakePublicFolder() error {
	path, err := PublicPath()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	return os.MkdirAll(dir, publicFolderMode)
}

// publishOwn publishes id if path is the user's own key file. Where that cannot be, as in a home
// that is read-only or in a process that has confined itself, it is left.
func publishOwn(path string, id Identifier) {
	if IsOwn(path) {
		_ = publish(id)
	}
}

// IsOwn tells whether a key file is the user's own: the one at [DefaultPath] without SP_IDENTITY.
func IsOwn(path string) bool {
	own, err := ownPath()
	if err == nil {
		path, err = filepath.Abs(path)
	}
	return err == nil && path == own
}

// publish has the public file name id, and nobody else be able to change it.
func publish(id Identifier) error {
	path, err := PublicPath()
	if err != nil {
		return err
	}
	text := []byte(id.String() + "\n")
	b, _, err := atomicfile.ReadDeciding(path, maxPublicFile)
	if err == nil && bytes.Equal(b, text) {
		return nil
	}
	err = MakePublicFolder()
	if err == nil {
		err = atomicfile.CheckDeciding(filepath.Dir(path))
	}
	if err == nil {
		err = atomicfile.ReplaceOpen(path, text)
	}
	if err != nil {
		return fmt.Errorf("public file %s: %w", path, atomicfile.WithoutPath(err))
	}
	return nil
}

// readIdentifier reads the Identifier in a key file, and nothing behind it: the key does not get
// into this process's memory. The file must pass as one that Load would take.
func readIdentifier(path string) (Identifier, error) {
	const before = keyFileHeader + "\n" + keyFileName
	b, info, err := atomicfile.ReadStart(path, len(before)+identifierText+len("\n"))
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Identifier{}, ErrNotIdentityFile
	case err != nil:
		return Identifier{}, err
	}
	line, ok := bytes.CutPrefix(b, []byte(before))
	if !ok {
		return Identifier{}, ErrNotIdentityFile
	}
	if err := atomicfile.CheckPrivate(path, info); err != nil {
		return Identifier{}, err
	}
	if err := atomicfile.CheckDeciding(path); err != nil {
		return Identifier{}, err
	}
	word, end := line[:identifierText], line[identifierText:]
	id, err := ParseIdentifier(string(word))
	if err != nil || string(end) != "\n" {
		return Identifier{}, ErrDamaged
	}
	return id, nil
}
