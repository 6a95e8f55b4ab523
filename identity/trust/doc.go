// Package trust decides whom a node trusts.
//
// A [Policy] is asked about a peer that has proved an identity, and answers with a
// [Decision]: by which [Anchor] the peer is trusted, and until when. Anchors are the node's
// own identity, identities named one by one or in allow files, the credentials of
// authorities, and anyone. Whoever is denied is not trusted, whatever an anchor says.
//
// Which function you want:
//
//   - to make a policy: [NewPolicy], from a [Config];
//   - to decide in a handshake: [Policy.Accept], which may redeem a ticket, and remembers
//     who was let in;
//   - to ask again later, as often as you like: [Policy.Check], which changes nothing, and
//     [Policy.Changed], which says when to ask;
//   - to follow the allow and deny files: [Policy.Poll] at short intervals;
//   - to refuse keys that were given up: [OpenKnownHistories], in Config.Known.
//
// Files are written by Accept and by [KnownHistories.Observe] only, and what they write is
// on the disk before anybody is trusted for it.
//
// What the package never does: it opens no socket, starts no goroutine, prints nothing and
// logs nothing. It takes the time as an argument, and reads the clock only to tell whether
// a file was written a moment ago.
package trust
