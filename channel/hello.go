package channel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/secureportal/sp/noise"
)

// A link that is for a channel carries hellos:
//
//	hello     = handshake | flow
//	handshake = 1 | length (1) | suite's name | frame   then frames with messages 2 and 3,
//	                                                    then records of flow 0
//	flow      = 2 | session (16) | number (8)           then records
//	frame     = length (2) | handshake message
//
// A flow's first record has at most 4096 bytes of data, because it is held before it is known for
// real.
const (
	helloHandshake = 1
	helloFlow      = 2

	flowHelloSize = 1 + len(sessionID{}) + 8
	maxSuiteName  = 64
)

// errNoHello says that a link carries something else than hellos.
var errNoHello = errors.New("not a secure channel's hello")

func appendHandshakeHello(dst []byte, suite noise.Suite) []byte {
	name := suite.String()
	dst = append(dst, helloHandshake, byte(len(name)))
	return append(dst, name...)
}

func appendFlowHello(dst []byte, id sessionID, number uint64) []byte {
	dst = append(dst, helloFlow)
	dst = append(dst, id[:]...)
	return binary.BigEndian.AppendUint64(dst, number)
}

func parseFlowHello(b []byte) (id sessionID, number uint64) {
	copy(id[:], b)
	return id, binary.BigEndian.Uint64(b[len(id):])
}

// appendFrame appends what write appends, behind its length.
func appendFrame(dst []byte, write func(dst []byte) ([]byte, error)) ([]byte, error) {
	start := len(dst)
	dst, err := write(append(dst, 0, 0))
	if err != nil {
		return nil, err
	}
	size := len(dst) - start - lengthSize
	if size > maxHandshakeMessage {
		return nil, fmt.Errorf("handshake message of %d bytes, more than %d: "+
			"too many credentials or key changes", size, maxHandshakeMessage)
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(size))
	return dst, nil
}
