package identity

// The protocol's limits. Both ends have to agree on them: a value beyond one of
// these is refused by every decoder.
const (
	// MaxChanges is the number of changes a history may have: the creation and 31
	// rotations. A history is then at most 6401 bytes.
	MaxChanges = 32

	// MaxAttributes is the number of attributes a credential may have.
	MaxAttributes = 16

	// MaxAttributeKey is the length of an attribute's key, in bytes (at least 1).
	MaxAttributeKey = 64

	// MaxAttributeValue is the length of an attribute's value, in bytes (at least 0).
	MaxAttributeValue = 255

	// MaxCredential is the length of an encoded credential, in bytes. It is what the
	// limits above add up to: the longest history and 16 of the longest attributes.
	MaxCredential = credentialFixedSize + maxHistory +
		MaxAttributes*(2+MaxAttributeKey+MaxAttributeValue)

	// MaxCredentials is the number of credentials one proof may carry.
	MaxCredentials = 8

	// MaxTicketRoute is the length of the route in a ticket, in bytes (at least 1).
	MaxTicketRoute = 2048

	// MaxTicket is the length of an encoded ticket, in bytes.
	MaxTicket = ticketFixedSize + MaxTicketRoute + maxHistory

	// MaxProof is the length of an encoded proof, in bytes: room for the longest
	// history beside the longest credential, or beside eight of the usual size (about
	// 300 bytes). It fits a Noise handshake message (65535 bytes) with room to spare.
	MaxProof = 24 << 10

	// MaxProofAlone is the length of a proof with the longest history and no credential, in bytes.
	MaxProofAlone = 1 + maxHistory + 1 + signatureSize

	// MinHandshakeHash and MaxHandshakeHash bound the handshake hash, in bytes: Noise
	// has hashes of 32 and of 64 bytes.
	MinHandshakeHash = 32
	MaxHandshakeHash = 64

	// maxTime is the last second that text can show: 9999-12-31T23:59:59Z.
	maxTime = 253402300799
)

// The limits of this implementation.
const (
	// MaxKeyFile is the size of an identity file, in bytes. The longest history makes
	// about 10 KiB.
	MaxKeyFile = 16 << 10
)

// Sizes of the encodings, in bytes.
const (
	hashSize       = 32
	keySize        = 32
	seedSize       = 32
	signatureSize  = 64
	serialSize     = 16
	identifierText = 1 + 2*hashSize

	changeBodySize  = 1 + 1 + hashSize + keySize + 8
	firstChangeSize = changeBodySize + signatureSize
	laterChangeSize = changeBodySize + 2*signatureSize
	maxHistory      = 1 + firstChangeSize + (MaxChanges-1)*laterChangeSize

	credentialFixedSize = 1 + serialSize + hashSize + 8 + 8 + 1 + signatureSize
	ticketFixedSize     = 1 + serialSize + 8 + 2 + signatureSize
	entryOverhead       = 1 + 2
	minProof            = 1 + 1 + firstChangeSize + 1 + signatureSize
)

// Versions and kinds, the first byte or two of each encoding.
const (
	changeVersion     = 1
	changeKindKey     = 1
	credentialVersion = 1
	ticketVersion     = 1
	proofVersion      = 1

	entryCredential = 1
	entryTicket     = 2
)

// Signature contexts. Each ends with a zero byte, so none is a prefix of another,
// and a signature made for one purpose is never good for another.
const (
	contextChange     = "sp v1 identity change\x00"
	contextCredential = "sp v1 identity credential\x00"
	contextTicket     = "sp v1 identity ticket\x00"
	contextProof      = "sp v1 identity proof\x00"
	contextHolding    = "sp v1 identity holding\x00"
)
