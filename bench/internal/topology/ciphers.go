//go:build linux

package topology

// The ciphers that programs agree on by themselves, between two ends on a processor
// with AES instructions. Key sizes differ: where a program gives no choice, it runs
// as its users run it.
const (
	// spCipher is that of sp's first suite, and of the forwarders that seal and open.
	spCipher = "AES-256-GCM"

	// goTLSCipher is what crypto/tls prefers in TLS 1.3. It cannot be configured.
	goTLSCipher = "TLS_AES_128_GCM_SHA256"

	// opensslCipher is what OpenSSL prefers in TLS 1.3.
	opensslCipher = "TLS_AES_256_GCM_SHA384"
)
