package processor

import (
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		cpuinfo string
		want    Processor
	}{
		"x86": {
			"processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n" +
				"flags\t\t: fpu sse4_1 pclmulqdq aes avx vaes vpclmulqdq\nbugs\t\t: aes\n\n" +
				"processor\t: 1\nmodel name\t: another\nflags\t\t: fpu\n\n",
			Processor{"AMD EPYC", []string{"aes", "pclmulqdq", "vaes", "vpclmulqdq"}},
		},
		"x86 without AES": {
			"model name\t: Old: 2 GHz\nflags\t\t: fpu aesni_not_this\n",
			Processor{"Old: 2 GHz", nil},
		},
		"ARM": {
			"processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd aes pmull sha1\n\n",
			Processor{"", []string{"aes", "pmull"}},
		},
		"nothing": {"", Processor{}},
	} {
		if got := parse(test.cpuinfo); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestHere(t *testing.T) {
	if p := Here(); p.Model == "" {
		t.Error("a processor without a name")
	}
}

func TestMeasure(t *testing.T) {
	if s := Measure(); s.AES256GCM <= 0 || s.ChaCha20Poly1305 <= 0 {
		t.Errorf("%+v", s)
	}
}
