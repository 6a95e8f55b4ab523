package wire

import "fmt"

// AppendWanted appends what the payload begins with of a message that asks an outlet to connect
// somewhere: the address, which is one of TCP. An origin may follow, or nothing.
func AppendWanted(dst []byte, a Address) ([]byte, error) {
	if !isWanted(a.Kind) {
		return nil, fmt.Errorf("%w: an address of kind %d to connect to", ErrMalformed, a.Kind)
	}
	return AppendAddress(dst, a)
}

// ParseWanted takes the address off the front of a payload.
func ParseWanted(b []byte) (a Address, rest []byte, err error) {
	a, rest, err = ParseAddress(b)
	if err == nil && !isWanted(a.Kind) {
		err = fmt.Errorf("%w: an address of kind %d to connect to", ErrMalformed, a.Kind)
	}
	return a, rest, err
}

func isWanted(k Kind) bool { return k == IP4 || k == IP6 || k == DNS }
