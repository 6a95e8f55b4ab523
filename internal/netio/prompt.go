package netio

// Prompt is a connection that reads and writes without waiting.
type Prompt interface {
	// ReadNow reads once into what room lends, and returns 0 if there is nothing to read now. It
	// reports false if there is an end or an error, or this cannot be done: a read that may wait
	// says what it is. Nobody else reads meanwhile.
	ReadNow(room Room) (n int, ok bool)
	// WriteNow writes as much of p as is taken now, and returns how much that is. Whoever writes
	// the rest may wait, and learns of an error. Nobody else writes meanwhile.
	WriteNow(p []byte) int
}

// ReadNow is c's, if it is a Prompt, and otherwise reports false.
func ReadNow(c any, room Room) (n int, ok bool) {
	if p, is := c.(Prompt); is {
		return p.ReadNow(room)
	}
	return 0, false
}

// WriteNow is c's, if it is a Prompt, and otherwise writes nothing.
func WriteNow(c any, p []byte) int {
	if w, ok := c.(Prompt); ok {
		return w.WriteNow(p)
	}
	return 0
}
