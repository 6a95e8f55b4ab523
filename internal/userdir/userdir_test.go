package userdir

import (
	"runtime"
	"testing"
)

func TestFolders(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		t.Skip("another custom here")
	}
	for _, test := range []struct{ config, state, home, wantConfig, wantState string }{
		{"/c", "/s", "/home/u", "/c", "/s"},
		{"", "", "/home/u", "/home/u/.config", "/home/u/.local/state"},
		{"relative", "relative", "/home/u", "", ""},
		{"", "", "", "", ""},
	} {
		t.Setenv("XDG_CONFIG_HOME", test.config)
		t.Setenv("XDG_STATE_HOME", test.state)
		t.Setenv("HOME", test.home)
		config, err := Config()
		if (err == nil) != (test.wantConfig != "") || err == nil && config != test.wantConfig {
			t.Errorf("%+v: config %q, %v", test, config, err)
		}
		state, err := State()
		if (err == nil) != (test.wantState != "") || err == nil && state != test.wantState {
			t.Errorf("%+v: state %q, %v", test, state, err)
		}
	}
}
