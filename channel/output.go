package channel

import (
	"sync"

	"github.com/secureportal/sp/internal/netio"
)

// output is the room in which one flow makes records. It holds memory only while there is something
// in it.
type output struct {
	to     *Flow // the flow, if what is read goes there; nil is unknown
	short  bool  // the last slots were fewer than they could be, for the sake of memory
	class  netio.Class
	room   int32 // of the last slots
	*slots       // nil while nothing is in it
}

// slots are a buffer that is cut, each with room for a record's header and tag around its data.
// Bytes are read from the application straight into the slots, sealed there, and written to the
// carrier with one call.
//
//	prefix | header | data … | tag | header | data … | tag | …
type slots struct {
	buffer *netio.Buffer
	prefix int // bytes at the front that go out before the first record
	data   [maxSlots][]byte
	used   int
}

var slotsPool = sync.Pool{New: func() any { return new(slots) }}

// maxSlots is how many full records the largest buffer holds.
const maxSlots = 8

var _ netio.Room = (*output)(nil)

// Acquire implements netio.Room: the data parts of the slots.
func (o *output) Acquire() [][]byte {
	class := o.class
	if o.to != nil {
		class = o.to.class(class)
	}
	o.short = class < o.class
	if o.slots != nil && (o.used == 0 || o.buffer.Class() != class) {
		o.Release()
	}
	if o.slots == nil {
		o.take(class, nil)
	}
	return o.data[:o.used]
}

// take gets a buffer of class c and cuts it into slots behind prefix.
func (o *output) take(c netio.Class, prefix []byte) {
	o.slots = slotsPool.Get().(*slots)
	o.buffer = netio.GetBuffer(c)
	o.prefix = copy(o.buffer.Bytes, prefix)
	o.room = int32(o.cut())
}

// cut lays the slots out behind the prefix, and returns their room. The first record behind a hello
// has a limit of its own.
func (s *slots) cut() (room int) {
	rest := s.buffer.Bytes[s.prefix:]
	most := maxData
	if s.prefix > 0 {
		most = maxFirst
	}
	for s.used = 0; s.used < maxSlots && len(rest) > overhead; s.used++ {
		size := min(len(rest)-overhead, most)
		most = maxData
		s.data[s.used] = rest[dataOffset : dataOffset+size : dataOffset+size]
		rest = rest[size+overhead:]
		room += size
	}
	return room
}

// Release implements netio.Room.
func (o *output) Release() {
	if o.slots == nil {
		return
	}
	o.buffer.Free()
	*o.slots = slots{}
	slotsPool.Put(o.slots)
	o.slots = nil
}

// leave is Release where somebody else has the buffer now.
func (o *output) leave() {
	*o.slots = slots{}
	slotsPool.Put(o.slots)
	o.slots = nil
}

// begin makes room for n bytes of data behind prefix, or for as many as the largest buffer holds.
func (o *output) begin(prefix []byte, n int) [][]byte {
	o.Release()
	o.take(netio.ClassFor(len(prefix)+n+2*overhead), prefix)
	return o.data[:o.used]
}

// seal makes records of the n bytes in the slots and returns what to write. Where that is to be
// kept it is made in a buffer no larger than it must be, and much is made in another one than it
// was read into: so what is read next is read into memory that is in the processor's caches, which
// nothing that is kept is for long.
func (o *output) seal(c *cipherHalf, n int, keep bool) ([]byte, error) {
	to := o.buffer
	if keep && n > keptSmall {
		if class := netio.ClassFor(o.size(n)); class < to.Class() || class == netio.Huge {
			to = netio.GetToKeep(class)
			copy(to.Bytes, o.buffer.Bytes[:o.prefix])
		}
	}
	at := o.prefix
	for i := 0; n > 0; i++ {
		data := min(n, len(o.data[i]))
		size, err := c.sealTo(to.Bytes[at:], o.buffer.Bytes[at:], typeData, data)
		if err != nil {
			o.moveTo(to)
			return nil, err
		}
		at += size
		n -= data
	}
	o.moveTo(to)
	return to.Bytes[:at], nil
}

// size returns how many bytes seal makes of n.
func (o *output) size(n int) int {
	size := o.prefix + n
	for i := 0; n > 0; i++ {
		n -= len(o.data[i])
		size += overhead
	}
	return size
}

// moveTo makes to the buffer, which has no slots if it is another one.
func (o *output) moveTo(to *netio.Buffer) {
	if to != o.buffer {
		o.buffer.Free()
		o.buffer, o.used = to, 0
	}
}

// one makes one record of data, which is short, behind prefix, and returns what to write.
func (o *output) one(c *cipherHalf, prefix []byte, t recordType, data []byte) ([]byte, error) {
	copyIn(o.begin(prefix, len(data)), data)
	size, err := c.seal(o.buffer.Bytes[o.prefix:], t, len(data))
	return o.buffer.Bytes[:o.prefix+size], err
}

// fit chooses the size of the next buffer after a read of n bytes from the application.
func (o *output) fit(n int) {
	if o.short {
		return
	}
	if n == int(o.room) && o.class < netio.Huge {
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
