package noise

import (
	"regexp"
	"testing"
)

func TestSuites(t *testing.T) {
	// Noise §8.1, and §8.2 with the + that the hybrid's draft takes from the
	// several-algorithms rule of §8.
	valid := regexp.MustCompile(
		`^Noise_XX(_25519|hfs_25519\+MLKEM768)_(AESGCM|ChaChaPoly)_(SHA256|SHA512|BLAKE2s|BLAKE2b)$`,
	)
	seen := map[Suite]bool{}
	for _, s := range Suites() {
		name := s.String()
		if !valid.MatchString(name) {
			t.Errorf("bad name %q", name)
		}
		if got, err := ParseSuite(name); err != nil || got != s {
			t.Errorf("ParseSuite(%q) = %v, %v", name, got, err)
		}
		if want := name[8] == 'h'; s.Hybrid() != want {
			t.Errorf("%s: Hybrid() = %t", name, s.Hybrid())
		}
		seen[s] = true
	}
	if len(seen) != 16 {
		t.Errorf("%d suites, want 16", len(seen))
	}
	if first := Suites()[0].String(); first != "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256" {
		t.Errorf("first suite is %s", first)
	}
}

func TestParseSuiteUnknown(t *testing.T) {
	for _, name := range []string{
		"", "Noise", "Noise_XX_25519_AESGCM_SHA256 ", "noise_xx_25519_aesgcm_sha256",
		"Noise_NN_25519_AESGCM_SHA256", "Noise_XXpsk3_25519_AESGCM_SHA256", "Noise_XX_448_AESGCM_SHA256",
		"Noise_XX_25519+MLKEM768_AESGCM_SHA256", "Noise_XXhfs_25519_AESGCM_SHA256",
		"Noise_XXhfs_25519+ML-KEM-768_ChaChaPoly_SHA256", "Noise_XX_25519_AESGCM_SHA3",
	} {
		if s, err := ParseSuite(name); err == nil || s != (Suite{}) {
			t.Errorf("ParseSuite(%q) = %v, %v", name, s, err)
		}
	}
	if s := (Suite{}); s.String() != "" || s.Hybrid() {
		t.Errorf("the zero suite is %q, hybrid %t", s, s.Hybrid())
	}
}
