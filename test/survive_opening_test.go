//go:build unix

package test

import (
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// TestSurvivesOpening kills the relay under connections that are short, so that many are being
// opened or ended at that moment: none of them is told of an error either.
func TestSurvivesOpening(t *testing.T) {
	alone(t)
	kills := testenv.OfFull(3, 100)
	w := newLasting(t, plan{program: "talk", inlets: 1})
	d, stop := under(t, w.address, 8, 16<<10, 1)
	for range kills {
		d.awaitGood(t, 16)
		w.kill("relay")
		w.revive("relay")
	}
	d.awaitGood(t, 16)
	stop()
	t.Log(d)
	if told := d.told.Load(); told > 0 {
		t.Errorf("%d connections were told of an error", told)
	}
}
