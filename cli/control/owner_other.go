//go:build !unix

package control

import "os"

// hasModes tells that a file's folder says who may use it.
const hasModes = false

func systemFolders() []string { return nil }

// isOwn tells whether path is there: the user's folders are his alone.
func isOwn(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
