package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/relay"
)

// Defaults of Limits, and of a relay's own. The zero value of a field means its default.
const (
	DefaultMaxConnections     = admission.DefaultConnections
	DefaultMaxPerIdentity     = admission.DefaultPerIdentity
	DefaultMaxPerSource       = admission.DefaultPerSource
	DefaultMaxSessions        = channel.DefaultSessionsPerIdentity
	DefaultMaxUnauthenticated = admission.DefaultUnauthenticated
	DefaultHandshakeRate      = admission.DefaultHandshakeRate
	DefaultMaxNames           = relay.DefaultNames
	DefaultMaxNamesPerOwner   = relay.DefaultNamesPerIdentity
)

// Limits says how much a node takes on. What is over a limit is refused; what is there already
// does not suffer. Zero fields are the defaults, which are lower where the process may open too
// few files for them.
type Limits struct {
	// Connections is the most connections at once. Field "max-connections".
	Connections int
	// PerIdentity is the most connections at once of one identity. Field "max-per-identity".
	PerIdentity int
	// PerSource is the most connections at once from one IPv4 address or IPv6 /64, of those
	// that come through no secure channel. Field "max-per-source".
	PerSource int
	// Sessions is the most sessions at once of one identity. Field "max-sessions".
	Sessions int
	// Unauthenticated is the most links at once whose peer has not proved itself, and as many
	// again from sources that somebody trusted has come from. Field "max-unauthenticated".
	Unauthenticated int
	// HandshakeRate is the most handshakes a second from one IPv4 address or IPv6 /64.
	// Field "handshake-rate".
	HandshakeRate int
	// Memory is how much memory the process may use, as ParseMemory reads it. Empty means what its
	// control group allows, or the machine has. Field "memory".
	Memory string
}

// Validate says which field is wrong, or returns nil.
func (l Limits) Validate() error {
	if _, err := l.ParseMemory(); err != nil {
		return err
	}
	return checkLimits([]limit{
		{"max-connections", l.Connections},
		{"max-per-identity", l.PerIdentity},
		{"max-per-source", l.PerSource},
		{"max-sessions", l.Sessions},
		{"max-unauthenticated", l.Unauthenticated},
		{"handshake-rate", l.HandshakeRate},
	})
}

// minMemory is the least memory that a process can do something useful with.
const minMemory = 16 << 20

var memoryUnits = map[string]int64{
	"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
}

// ParseMemory returns how many bytes Memory says, or 0 if it says none: a number with K, M, G or T
// behind it, as in 64M, 512MiB or 1.5G.
func (l Limits) ParseMemory() (int64, error) { return parseSize("memory", l.Memory, minMemory) }

// parseSize returns how many bytes a field says, or 0 if it says none.
func parseSize(field, value string, least int64) (int64, error) {
	if value == "" {
		return 0, nil
	}
	text := strings.ToLower(strings.TrimSpace(value))
	digits := strings.TrimRight(text, "bikmgt")
	unit := strings.TrimSuffix(strings.TrimSuffix(text[len(digits):], "b"), "i")
	size, known := memoryUnits[unit]
	number, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || !known || !(number >= 0) || number*float64(size) >= 1<<62 {
		return 0, fieldError(field, "{"+field+"} %q is not a size, like 64M or 1G", value)
	}
	bytes := int64(number * float64(size))
	if bytes < least {
		return 0, fieldError(field, "{"+field+"} %s is too little: %dM at least",
			value, max(least>>20, 1))
	}
	return bytes, nil
}

type limit struct {
	field string
	value int
}

func checkLimits(limits []limit) error {
	for _, l := range limits {
		if l.value < 0 {
			return LimitError(l.field, l.value)
		}
	}
	return nil
}

// LimitError is the error of a limit that would let nothing through. Flags need it too: a flag
// can be 0, which is the default here.
func LimitError(field string, value int) error {
	return fieldError(field, fmt.Sprintf("{%s} %%d lets nothing through", field), value)
}
