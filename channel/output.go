package channel

import "github.com/secureportal/sp/internal/netio"

// output is the room in which one flow makes records: a buffer cut into slots, each with room for a record's header and
// tag around its data. Bytes are read from the application straight into the slots, sealed there, and written to the
// link with one call. It holds a buffer only while there is something in it.
//
//	prefix | header | data … | tag | header | data … | tag | …
type output struct {
	buffer *netio.Buffer
	class  netio.Class
	prefix int // bytes at the front that go out before the first record
	slots  [maxSlots][]byte
	used   int // slots
}

// maxSlots is how many full records the largest buffer holds.
const maxSlots = 8

var _ netio.Room = (*output)(nil)

// Acquire implements netio.Room: the data parts of the slots.
func (o *output) Acquire() [][]byte {
	if o.buffer != nil && o.buffer.Class() != o.class {
		o.Release()
	}
	if o.buffer == nil {
		o.buffer = netio.GetBuffer(o.class)
		o.prefix = 0
		o.cut()
	}
	return o.slots[:o.used]
}

// cut lays the slots out behind the prefix. The first record behind a hello has a limit of its own.
func (o *output) cut() {
	rest := o.buffer.Bytes[o.prefix:]
	most := MaxData
	if o.prefix > 0 {
		most = maxFirst
	}
	for o.used = 0; o.used < maxSlots && len(rest) > Overhead; o.used++ {
		size := min(len(rest)-Overhead, most)
		most = MaxData
		o.slots[o.used] = rest[dataOffset : dataOffset+size : dataOffset+size]
		rest = rest[size+Overhead:]
	}
}

// Release implements netio.Room.
func (o *output) Release() {
	o.buffer.Free()
	o.buffer, o.prefix, o.used = nil, 0, 0
	clear(o.slots[:])
}

// begin makes room for n bytes of data behind prefix, or for as many as the largest buffer holds.
func (o *output) begin(prefix []byte, n int) [][]byte {
	o.Release()
	o.buffer = netio.GetBuffer(netio.ClassFor(len(prefix) + n + 2*Overhead))
	o.prefix = copy(o.buffer.Bytes, prefix)
	o.cut()
	return o.slots[:o.used]
}

// seal makes records of the n bytes in the slots and returns what to write.
func (o *output) seal(c *cipherHalf, n int) ([]byte, error) {
	at := o.prefix
	for i := 0; n > 0; i++ {
		data := min(n, len(o.slots[i]))
		size, err := c.seal(o.buffer.Bytes[at:], typeData, data)
		if err != nil {
			return nil, err
		}
		at += size
		n -= data
	}
	return o.buffer.Bytes[:at], nil
}

// fit chooses the size of the next buffer after a read of n bytes from the application.
func (o *output) fit(n int) {
	room := 0
	for _, s := range o.slots[:o.used] {
		room += len(s)
	}
	if n == room && o.class < netio.Huge {
		o.class++
	} else {
		o.class = netio.Adapt(o.class, n)
	}
}

// copyIn copies p into slots and returns how much of it fitted.
func copyIn(slots [][]byte, p []byte) int {
	n := 0
	for _, s := range slots {
		n += copy(s, p[n:])
	}
	return n
}
