// Package wording says figures as people do, wherever people read them: in a terminal, in the log,
// on a page.
package wording

import (
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/printable"
)

// Plain is what others may have said, without what a terminal would do something about, or what
// would be read in another order than it has.
func Plain(text string) string {
	if printable.Is(text) {
		return text
	}
	return fmt.Sprintf("%+q", text)
}

// Short is the beginning of an Identifier, by which people know it again. Nil is nobody.
func Short(id *identity.Identifier) string {
	if id == nil {
		return "-"
	}
	return id.String()[:13] + "…"
}

// Roughly is a duration.
func Roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
}

// Seconds is a number of them as a duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Ago is a number of seconds.
func Ago(s float64) string { return Roughly(Seconds(s)) }

// Milliseconds is a duration that is measured.
func Milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}

// Size is a number of bytes.
func Size(bytes float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if bytes < 999.5 {
			if bytes < 99.5 && unit != "B" {
				return fmt.Sprintf("%.1f %s", bytes, unit)
			}
			return fmt.Sprintf("%.0f %s", bytes, unit)
		}
		bytes /= 1000
	}
	return fmt.Sprintf("%.1f TB", bytes)
}
