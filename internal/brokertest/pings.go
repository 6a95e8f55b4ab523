package brokertest

import (
	"bufio"
	"io"
	"net"
	"strings"
)

// AnswerPings says on c what a server of NATS says, until it has answered so many PINGs or c ends:
// two let a client in, and hear it. It leaves c open.
func AnswerPings(c net.Conn, pings int) {
	_, _ = io.WriteString(c, "INFO {\"max_payload\":1048576,\"headers\":true}\r\n")
	in := bufio.NewReader(c)
	for pings > 0 {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "PING") {
			pings--
			_, _ = io.WriteString(c, "PONG\r\n")
		}
	}
}
