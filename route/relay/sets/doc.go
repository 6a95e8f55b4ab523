// Package sets is what relays of several sets say to each other over a bus that all of them reach,
// and what follows from it: where a name is held (Claim, Known), and whose it is (Told).
//
// Like package set it is arithmetic on values: it touches no network and reads no clock. The bus is
// the operator's; who can write there is taken for a liar. docs/PROTOCOL.md, Directory, has the
// bytes and the rules.
package sets
