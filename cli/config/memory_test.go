package config

import "testing"

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "64M": 64 << 20, "64m": 64 << 20, "64MB": 64 << 20, "512MiB": 512 << 20,
		"1.5G": 3 << 29, "2 GiB": 2 << 30, "1T": 1 << 40, "67108864": 64 << 20, "65536k": 64 << 20,
	} {
		got, err := Limits{Memory: text}.ParseMemory()
		if err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"M", "64X", "-64M", "64M64", "0", "1K", "15M", "NaN", "Inf", "1e99G", "half", "64 M B",
	} {
		if got, err := (Limits{Memory: text}).ParseMemory(); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
