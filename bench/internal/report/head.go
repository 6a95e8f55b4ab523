package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Host is where and when, and how fast one core seals records of 64 KiB.
type Host struct {
	Date             time.Time `json:"date"`
	CPU              string    `json:"cpu"`
	Cores            int       `json:"cores"`
	AESInstructions  []string  `json:"aes_instructions"`       // empty: it has none
	AES256GCM        float64   `json:"aes_256_gcm_gb_s"`       // 10⁹ bytes a second
	ChaCha20Poly1305 float64   `json:"chacha20_poly1305_gb_s"` // 10⁹ bytes a second
	Kernel           string    `json:"kernel"`
	Go               string    `json:"go"`
	Repetitions      int       `json:"repetitions"`
	Flags            string    `json:"flags"`
}

// String is one paragraph of text.
func (h Host) String() string {
	aes := "no AES instructions"
	if len(h.AESInstructions) > 0 {
		aes = "AES instructions " + strings.Join(h.AESInstructions, ", ")
	}
	return fmt.Sprintf("Medians of %d interleaved repetitions (least–most). "+
		"%s, %d cores, %s; one core seals records of 64 KiB "+
		"at %s GB/s with AES-256-GCM and at %s GB/s with ChaCha20-Poly1305. "+
		"Linux %s, %s, %s. `bench %s`",
		h.Repetitions, h.CPU, h.Cores, aes, number(h.AES256GCM), number(h.ChaCha20Poly1305),
		h.Kernel, h.Go, h.Date.UTC().Format(time.DateOnly), h.Flags)
}

// writeCiphers has a row for each topology that was measured and encrypts.
func (r *Results) writeCiphers(b *strings.Builder) {
	rows := slices.DeleteFunc(slices.Clone(r.Rows), func(row Row) bool {
		return row.Cipher == "" || !r.measured(row.Name)
	})
	if len(rows) == 0 {
		return
	}
	heading(b, "Ciphers", "What the ends agree on where the processor has AES instructions.")
	line(b, []string{"", "cipher"})
	rule(b, 2)
	for _, row := range rows {
		line(b, []string{row.Name, row.Cipher})
	}
}

// measured says whether there is any figure of a topology.
func (r *Results) measured(topology string) bool {
	for key := range r.figures {
		if key.Topology == topology {
			return true
		}
	}
	return false
}
