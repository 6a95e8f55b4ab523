// Package userdir finds the folders that a user's files belong in. It makes none of them.
package userdir

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Config returns the folder for configuration: $XDG_CONFIG_HOME if set, else ~/.config,
// or what [os.UserConfigDir] names on systems where that is not the custom.
func Config() (string, error) { return find("XDG_CONFIG_HOME", ".config") }

// State returns the folder for what a program remembers: $XDG_STATE_HOME if set, else
// ~/.local/state, or [os.UserConfigDir] on systems where that is not the custom.
func State() (string, error) { return find("XDG_STATE_HOME", ".local", "state") }

// find returns the folder that variable names, or the one at path in the home folder.
func find(variable string, path ...string) (string, error) {
	if dir := os.Getenv(variable); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("%s is not an absolute path", variable)
		}
		return dir, nil
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return os.UserConfigDir()
	}
	home, err := os.UserHomeDir()
	return filepath.Join(append([]string{home}, path...)...), err
}
