package processor

import (
	"crypto/aes"
	"crypto/cipher"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	keySize    = 32       // of both ciphers
	recordSize = 64 << 10 // sealed at once, as sp's largest record

	// The fastest of some short runs is the speed: whatever else the machine did
	// can only have made a run slower.
	runs    = 10
	runTime = 20 * time.Millisecond
)

// Speed is how fast one core seals records of 64 KiB in place, in 10⁹ bytes a
// second: by Go's implementations, which sp and the forwarders use.
type Speed struct {
	AES256GCM, ChaCha20Poly1305 float64
}

// Measure takes about half a second.
func Measure() Speed {
	key := make([]byte, keySize)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is a constant
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	chacha, err := chacha20poly1305.New(key)
	if err != nil {
		panic(err)
	}
	return Speed{AES256GCM: sealSpeed(gcm), ChaCha20Poly1305: sealSpeed(chacha)}
}

func sealSpeed(aead cipher.AEAD) float64 {
	nonce := make([]byte, aead.NonceSize())
	record := make([]byte, recordSize, recordSize+aead.Overhead())
	best := 0.0
	for range runs {
		sealed := 0
		began := time.Now()
		for time.Since(began) < runTime {
			aead.Seal(record[:0], nonce, record, nil)
			sealed += recordSize
		}
		best = max(best, float64(sealed)/time.Since(began).Seconds()/1e9)
	}
	return best
}
