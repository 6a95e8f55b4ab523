package noise

// token is one step of a handshake message (Noise §7.1, and for e1 and ekem1
// the hybrid forward secrecy extension).
type token string

const (
	tokenE     token = "e"
	tokenS     token = "s"
	tokenEE    token = "ee"
	tokenES    token = "es"
	tokenSE    token = "se"
	tokenE1    token = "e1"
	tokenEKEM1 token = "ekem1"
)

// pattern is a handshake pattern (Noise §7). The initiator writes the first
// message; then the sides take turns.
type pattern struct {
	name     string
	dh       string // the DH part of the protocol name
	messages [][]token
}

// Noise §7.5, XX.
var patternXX = pattern{"XX", "25519", [][]token{
	{tokenE},                           // -> e
	{tokenE, tokenEE, tokenS, tokenES}, // <- e, ee, s, es
	{tokenS, tokenSE},                  // -> s, se
}}

// XX with hybrid forward secrecy, as drafted in libp2p/specs#727.
var patternXXhfs = pattern{"XXhfs", "25519+MLKEM768", [][]token{
	{tokenE, tokenE1}, // -> e, e1
	{tokenE, tokenEE, tokenEKEM1, tokenS, tokenES}, // <- e, ee, ekem1, s, es
	{tokenS, tokenSE}, // -> s, se
}}
