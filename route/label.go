package route

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/secureportal/sp/wire"
)

// labeler makes the labels of one node, and recognises them: nobody else can tell them from random
// bytes, or from those of another node. A label is
//
//	head (4) | HMAC-SHA256(key, "label" | 0 | head)[:4]
//
// where head is random in a message of the node's own, so that two messages do not tell that they
// come from the same node, and a pseudonym of whoever asks in a message that it passes on.
type labeler struct {
	key  [sha256.Size]byte
	macs sync.Pool // of hash.Hash with that key, ready for what comes
}

const labelHead = wire.LabelSize / 2

// newLabeler draws a key, which is new in each process.
func newLabeler() *labeler {
	l := new(labeler)
	_, _ = rand.Read(l.key[:]) // it never fails
	l.macs.New = func() any { return hmac.New(sha256.New, l.key[:]) }
	return l
}

// origin returns a label for a message of the node's own, a new one each time.
func (l *labeler) origin() wire.Address {
	var head [labelHead]byte
	_, _ = rand.Read(head[:])
	return l.seal(head[:])
}

// passing returns the label for messages of a source that the node passes on: the same for one
// source, and another one for another.
func (l *labeler) passing(source string) wire.Address {
	return l.seal(l.mac("source", source)[:labelHead])
}

// made tells whether the node has made a label.
func (l *labeler) made(a wire.Address) bool {
	return len(a.Name) == wire.LabelSize && a.Name == l.seal([]byte(a.Name[:labelHead])).Name
}

func (l *labeler) seal(head []byte) wire.Address {
	tail := l.mac("label", string(head))[:wire.LabelSize-labelHead]
	return wire.Address{Kind: wire.Label, Name: string(head) + string(tail)}
}

func (l *labeler) mac(about, what string) []byte {
	h := l.macs.Get().(hash.Hash)
	defer l.macs.Put(h)
	h.Reset()
	h.Write(append(append([]byte(about), 0), what...))
	return h.Sum(nil)
}
