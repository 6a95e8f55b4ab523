// Package trust decides whom a node trusts.
//
// A [Policy] is asked about a peer that has proved an identity in a handshake, and answers
// with a [Decision]: by which anchor the peer is trusted, and until when. Anchors are the
// node's own identity, names given one by one or in allow files, the credentials of
// authorities, and anyone. A deny list wins over all of them.
//
// What the package never does: it opens no socket, starts no goroutine, prints nothing and
// logs nothing. It takes the time as an argument, and reads the clock only to tell whether
// a file was written a moment ago.
package trust
