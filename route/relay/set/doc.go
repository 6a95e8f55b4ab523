// Package set is what the nodes of a relay set agree on: who they are (List), where a name is to be
// claimed and looked for (List.Homes), and whose a name is (Owners).
//
// It is arithmetic on values. It touches no network and reads no clock: whoever uses it says what
// has been heard, from whom, and what time it is. docs/PROTOCOL.md, Relay sets, has the bytes and
// the rules.
package set
