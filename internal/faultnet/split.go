package faultnet

// Splitter finds messages in a stream: it returns the length of the first whole
// message in buf, or 0 if there is none yet. It is called again with more bytes
// after a 0, and with what follows after a message. It sees the bytes as they
// were sent, before any fault.
//
// A splitter may keep state (each direction of each link gets its own), but may
// step on only when it returns a message. A message has at most 1 MiB; a
// stream in which no message is found for longer passes unharmed, and its
// faults do not fire.
type Splitter func(buf []byte) (n int)

// Frames splits messages that begin with their length: size bytes, big endian,
// then as many bytes as they say plus extra. Frames(2, 0) is the framing of
// secure channel records.
func Frames(size, extra int) Splitter {
	return func(buf []byte) int {
		if len(buf) < size {
			return 0
		}
		var n uint64
		for _, b := range buf[:size] {
			n = n<<8 | uint64(b)
		}
		if n > maxHold {
			return 0
		}
		if total := size + int(n) + extra; total <= len(buf) {
			return total
		}
		return 0
	}
}

// Lines splits text at each newline, which belongs to its line.
func Lines(buf []byte) int {
	for i, b := range buf {
		if b == '\n' {
			return i + 1
		}
	}
	return 0
}

// InTurn splits the first message with the first splitter, the second with the
// second and so on, and all that follow with the last: a stream that opens in
// one framing and goes on in another. It keeps state; make one for each direction.
func InTurn(first Splitter, then ...Splitter) Splitter {
	return func(buf []byte) int {
		n := first(buf)
		if n > 0 && len(then) > 0 {
			first, then = then[0], then[1:]
		}
		return n
	}
}
