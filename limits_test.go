package main

import "testing"

func TestLinksWith(t *testing.T) {
	for files, want := range map[int][2]int{
		0: {1, 1}, 16: {5, 5}, 256: {85, 85}, 1024: {341, 341}, 20_000: {8976, 6666}, 1 << 20: {1<<19 - 1024, 349525},
	} {
		connections, opening := linksWith(files)
		if got := [2]int{connections, opening}; got != want {
			t.Errorf("%d files allow %v connections and new links, want %v", files, got, want)
		}
	}
}
