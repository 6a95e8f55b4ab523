// The second implementation's flows that go on where their links have not.

package docs_test

import (
	"bytes"
	"encoding/binary"
)

// named says which flow it is: by the session and the number that it was opened with.
type named struct {
	session [16]byte
	number  uint64
	key     []byte // to resume the flows of that session with
}

func (k *keys) named(number uint64) named { return named{k.id, number, k.resume} }

func (f named) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, f.session[:]...), f.number)
}

// The roles in a MAC.
const (
	asInitiator = 1
	asResponder = 2
)

// stand is where a side stands: an epoch, a position, and what proves that it is that side who says
// so, for the flow that is to be the new link.
func stand(key []byte, role byte, link named, epoch uint32, position uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, epoch)
	b = binary.BigEndian.AppendUint64(b, position)
	return append(b, mac(key, []byte("sp/1 resume"), []byte{role}, link.append(nil), b)[:16]...)
}

// stands reads where a side stands.
func stands(b, key []byte, role byte, link named) (epoch uint32, position uint64, ok bool) {
	if len(b) != 4+8+16 {
		return 0, 0, false
	}
	epoch, position = binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])
	return epoch, position, bytes.Equal(b, stand(key, role, link, epoch, position))
}

// request is the first record of a flow that is to be the new link of f.
func (f *flow) request(link named) []byte {
	f.epoch++
	return append(f.named.append(nil), stand(f.key, asInitiator, link, f.epoch, f.receive.n)...)
}

// answered reads the answer to a request, and returns from where to send again.
func (f *flow) answered(data []byte, link named) (position uint64, ok bool) {
	epoch, position, ok := stands(data, f.key, asResponder, link)
	return position, ok && epoch == f.epoch && position <= f.send.n
}
