package daemon

import "testing"

func TestLimitsWith(t *testing.T) {
	for files, want := range map[int][2]int{
		0: {1, 1}, 16: {4, 4}, 256: {72, 64}, 1024: {288, 256},
		20_000: {8848, 1024}, 1 << 20: {1<<19 - 1152, 1024},
	} {
		connections, unauthenticated := limitsWith(files)
		if got := [2]int{connections, unauthenticated}; got != want {
			t.Errorf("%d files allow %v connections and unauthenticated links, want %v",
				files, got, want)
		}
		taken := 2*connections + unauthenticated + unauthenticated/4
		if files > 0 && taken >= files {
			t.Errorf("anonymous peers may have %d files of %d", taken, files)
		}
	}
}
