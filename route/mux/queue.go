package mux

import "github.com/secureportal/sp/internal/netio"

// queue holds bytes that have come and have not been read, in pooled buffers: none while there are
// no bytes. It is not safe for concurrent use.
type queue struct {
	size   int
	begin  int             // of what is left in the first buffer
	end    int             // of what is in the last one
	chunks []*netio.Buffer // the first is read, the last is filled
}

// write appends p.
func (q *queue) write(p []byte) {
	q.size += len(p)
	for len(p) > 0 {
		last := len(q.chunks) - 1
		if last < 0 || q.end == len(q.chunks[last].Bytes) {
			class := min(netio.ClassFor(len(p)), netio.Large)
			q.chunks = append(q.chunks, netio.GetBuffer(class))
			q.end = 0
			last++
		}
		n := copy(q.chunks[last].Bytes[q.end:], p)
		q.end += n
		p = p[n:]
	}
}

// read moves bytes to p, and returns how many.
func (q *queue) read(p []byte) (total int) {
	for len(p) > 0 && q.size > 0 {
		first := q.chunks[0]
		filled := len(first.Bytes)
		if len(q.chunks) == 1 {
			filled = q.end
		}
		n := copy(p, first.Bytes[q.begin:filled])
		p = p[n:]
		total += n
		q.size -= n
		if q.begin += n; q.begin == filled {
			first.Free()
			q.chunks[0] = nil
			q.chunks = q.chunks[1:]
			q.begin = 0
		}
	}
	if q.size == 0 {
		q.drop()
	}
	return total
}

// drop throws away what is there.
func (q *queue) drop() {
	for _, b := range q.chunks {
		b.Free()
	}
	*q = queue{}
}
