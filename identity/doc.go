// Package identity says who a node is.
//
// An identity is an Ed25519 key with a past: a short history of signed changes, each of
// which names the key that is current from then on. The hash of the first change is the
// [Identifier]. It outlives every key: [Identity.Rotate] makes a new key, signed by the
// old one and by itself, and the Identifier stays.
//
// Which function you want:
//
//   - to be somebody: [LoadOrCreate], or [New] and [Identity.Save];
//   - to prove it in a handshake: [Identity.Prove], and [ParseProof] at the far end;
//   - to vouch for somebody: [Identity.Issue], which makes a [Credential];
//   - to let in somebody whose Identifier is not known yet: [Identity.Ticket].
//
// Whom to trust is for package trust to say, which is built on this one. It redeems
// tickets, and remembers who has rotated keys.
//
// What is promised: a decoder takes bytes from anybody. It checks limits before it
// allocates or verifies anything, accepts one encoding only of each value, and accepts
// nothing after its end. A secret key is in no error and in no printed form.
//
// What the package never does: it opens no socket, starts no goroutine, prints nothing and
// logs nothing. It reads the clock in [LoadOrCreate] only; elsewhere the time is passed in.
package identity
