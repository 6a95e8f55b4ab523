package config

import "github.com/secureportal/sp/route/transport"

// Address is where to listen or what to dial.
type Address = transport.Address

// Stdio is the text of an address that is stdin and stdout, where that makes sense.
const Stdio = "-"

const loopback = "127.0.0.1"
