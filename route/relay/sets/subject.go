package sets

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// What is hashed in front of a name, so that the bus does not see names in clear. Who guesses a
// name can tell whether it is there.
const subjectContext = "sp directory 1\x00"

const subjectSize = 16

// Subject stands for a name on the bus.
type Subject [subjectSize]byte

// SubjectOf returns what stands for a name.
func SubjectOf(name string) Subject {
	sum := sha256.Sum256([]byte(subjectContext + name))
	return Subject(sum[:subjectSize])
}

// Prefix begins all subjects on the bus; "sp.1.>" is what a relay has to be allowed there.
const Prefix = "sp.1."

var base = base32.StdEncoding.WithPadding(base32.NoPadding)

// Held is the subject on which those listen who hold the name.
func (s Subject) Held() string { return Prefix + "h." + s.String() }

// Owned is the subject on which those listen who know whose the name is.
func (s Subject) Owned() string { return Prefix + "o." + s.String() }

// String returns 26 lower-case letters and digits.
func (s Subject) String() string { return strings.ToLower(base.EncodeToString(s[:])) }
