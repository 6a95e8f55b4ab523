package noise

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// FuzzReadMessage gives any bytes to each of the three readers of a handshake
// of either pattern. None may panic, and none may accept a message that the
// peer did not write: the first may be read, being in the clear, but then the
// answer to it is of no use to the peer.
func FuzzReadMessage(f *testing.F) {
	suites := []Suite{
		suite(f, "Noise_XX_25519_AESGCM_SHA256"),
		suite(f, "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256"),
	}
	var steps [2][]step
	for i, s := range suites {
		steps[i] = recordFixed(f, s)
		for position, step := range steps[i] {
			seeds := [][]byte{
				step.message, nil, step.message[:KeySize], step.message[:len(step.message)-1],
				append(bytes.Clone(step.message), 0), make([]byte, len(step.message)),
				bytes.Repeat([]byte{0xff}, len(step.message)), make([]byte, MaxMessageSize+1),
			}
			for _, point := range lowOrderPoints() {
				seeds = append(seeds, append(point, step.message[KeySize:]...))
			}
			for _, seed := range seeds {
				f.Add(i == 1, uint8(position), seed)
			}
		}
	}
	f.Fuzz(func(t *testing.T, hybrid bool, position uint8, message []byte) {
		which := 0
		if hybrid {
			which = 1
		}
		step := steps[which][position%3]
		err := step.deliver(message)
		if genuine := bytes.Equal(message, step.message); (err == nil) != genuine {
			t.Errorf("genuine: %t, error: %v", genuine, err)
		}
	})
}

// recordFixed is record with the same keys each time, so that what the fuzzer
// found yesterday means the same today.
func recordFixed(t testing.TB, s Suite) []step {
	r := rand.NewChaCha8([32]byte{1})
	w, rd := newPair(s, r, []byte("prologue"))
	rd.encapsulate = fixedEncapsulation(make([]byte, 32))
	var steps []step
	for range 3 {
		m, err := w.WriteMessage(nil, fixed([]byte("payload")))
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step{m, []byte("payload"), clone(w), clone(rd)})
		if _, _, err := rd.ReadMessage(m); err != nil {
			t.Fatal(err)
		}
		w, rd = rd, w
	}
	return steps
}
