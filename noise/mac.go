package noise

import "hash"

// mac computes hashes, and HMAC (RFC 2104), again and again in the same memory. Each key is used
// for one or two messages, and crypto/hmac makes two hashes and more of each: garbage of the sizes
// of what stays, between which it leaves holes.
type mac struct {
	hash    hash.Hash
	pad     [maxBlockSize]byte
	inner   [maxHashSize]byte
	temp    [maxHashSize]byte // hkdf2's
	counter [1]byte
}

// The sizes of the largest of hashFuncs.
const (
	maxBlockSize = 128
	maxHashSize  = 64
)

func (h *hashFunc) mac() *mac {
	if m, ok := h.macs.Get().(*mac); ok {
		return m
	}
	return &mac{hash: h.new()}
}

// free forgets all, and leaves m for the next one.
func (h *hashFunc) free(m *mac) {
	m.hash.Reset()
	*m = mac{hash: m.hash}
	h.macs.Put(m)
}

// sum appends HMAC(key, a || b) to dst. The key is no longer than a block, as all are in Noise.
func (m *mac) sum(dst, key, a, b []byte) []byte {
	m.begin(key, 0x36)
	m.hash.Write(a)
	m.hash.Write(b)
	inner := m.hash.Sum(m.inner[:0])
	m.begin(key, 0x5c)
	m.hash.Write(inner)
	return m.hash.Sum(dst)
}

// begin hashes a block: the key, padded with zeros, each byte XORed with one.
func (m *mac) begin(key []byte, with byte) {
	pad := m.pad[:m.hash.BlockSize()]
	for i := range pad {
		pad[i] = with
	}
	for i, k := range key {
		pad[i] ^= k
	}
	m.hash.Reset()
	m.hash.Write(pad)
}

// Noise §4.3 HKDF with two outputs; callers that need one leave the second.
func (h *hashFunc) hkdf2(ck, ikm []byte) (out1, out2 []byte) {
	m := h.mac()
	temp := m.sum(m.temp[:0], ck, ikm, nil)
	m.counter[0] = 1
	out1 = m.sum(nil, temp, m.counter[:], nil)
	m.counter[0] = 2
	out2 = m.sum(nil, temp, out1, m.counter[:])
	h.free(m)
	return out1, out2
}
