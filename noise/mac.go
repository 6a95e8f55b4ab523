package noise

import "hash"

// mac computes hashes, and HMAC (RFC 2104), again and again in the same memory. Each key is used
// for one or two messages, and crypto/hmac makes two hashes and more of each: garbage of the sizes
// of what stays, between which it leaves holes.
type mac struct {
	hash  hash.Hash
	pad   []byte // a block
	inner []byte
	temp  []byte // hkdf2's
}

func (h *hashFunc) mac() *mac {
	if m, ok := h.macs.Get().(*mac); ok {
		return m
	}
	hash := h.new()
	return &mac{hash: hash, pad: make([]byte, hash.BlockSize())}
}

// free forgets all, and leaves m for the next one.
func (h *hashFunc) free(m *mac) {
	m.hash.Reset()
	clear(m.pad)
	clear(m.inner)
	clear(m.temp)
	h.macs.Put(m)
}

// sum appends HMAC(key, a || b) to dst. The key is no longer than a block, as all are in Noise.
func (m *mac) sum(dst, key, a, b []byte) []byte {
	m.begin(key, 0x36)
	m.hash.Write(a)
	m.hash.Write(b)
	m.inner = m.hash.Sum(m.inner[:0])
	m.begin(key, 0x5c)
	m.hash.Write(m.inner)
	return m.hash.Sum(dst)
}

// begin hashes a block: the key, padded with zeros, each byte XORed with one.
func (m *mac) begin(key []byte, with byte) {
	pad := m.pad
	for i := range pad {
		k := with
		if i < len(key) {
			k ^= key[i]
		}
		pad[i] = k
	}
	m.hash.Reset()
	m.hash.Write(pad)
}

// counters are what hkdf2 tells its outputs apart by.
var counters = []byte{1, 2}

// Noise §4.3 HKDF with two outputs; callers that need one leave the second.
func (h *hashFunc) hkdf2(ck, ikm []byte) (out1, out2 []byte) {
	m := h.mac()
	m.temp = m.sum(m.temp[:0], ck, ikm, nil)
	out1 = m.sum(nil, m.temp, counters[:1], nil)
	out2 = m.sum(nil, m.temp, out1, counters[1:])
	h.free(m)
	return out1, out2
}
