package transport

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/secureportal/sp/wire"
)

// Addresses of queues at brokers. Who listens and who dials have the same one. The text has two
// forms:
//
//	short                          long
//	nats://HOST:4222/SUBJECT       /nats/HOST/4222/SUBJECT
//	kafka://HOST:9092/TOPIC        /kafka/HOST/9092/TOPIC
//
// where HOST is a name or an IP address, and the port may be left out of the short form if it is
// the usual one. The name of a queue has letters, digits, dot, dash and underscore.

// isQueue tells whether addresses of a kind are of queues.
func isQueue(kind wire.Kind) bool { return kind == wire.NATS || kind == wire.Kafka }

// IsQueue tells whether a is a queue at a broker.
func IsQueue(a Address) bool { return isQueue(a.Kind) }

// splitQueue returns the host of the broker and the name of the queue of an address.
func splitQueue(a Address) (host, name string) {
	host, name, _ = strings.Cut(a.Name, "/")
	return host, name
}

// queueOf returns the name of a queue.
func queueOf(a Address) string {
	_, name := splitQueue(a)
	return name
}

// withQueue returns the address of a queue at a broker, which has a host always.
func withQueue(broker Address, path string) (Address, error) {
	what, where := "subject", "SUBJECT"
	if broker.Kind == wire.Kafka {
		what, where = "topic", "TOPIC"
	}
	switch {
	case broker.Name == "":
		return broker, errors.New("the host of the broker is missing, where this node listens as well")
	case len(path) < 2:
		return broker, fmt.Errorf("a %s is missing: %s/%s", what, formatURL(broker), where)
	case broker.Port == 0:
		return broker, errors.New("a broker is never at port 0")
	}
	broker.Name += path
	return broker, Validate(broker)
}

// parseQueueStep reads /nats/HOST/PORT/SUBJECT and its like.
func parseQueueStep(kind wire.Kind, words []string) (a Address, took int, err error) {
	const size = 4
	if len(words) < size {
		return a, len(words), fmt.Errorf("/%s is followed by /HOST/PORT/QUEUE", urlScheme(kind))
	}
	tcp, err := hostPort(words[1], words[2], 1)
	if err == nil {
		err = check(tcp)
	}
	if err != nil {
		return a, len(words), err
	}
	a, err = withURL(tcp, kind, "/"+words[3])
	return a, size, err
}

func formatQueueStep(a Address) string {
	host, queue := splitQueue(a)
	return fmt.Sprintf("/%s/%s/%d/%s", urlScheme(a.Kind), host, a.Port, queue)
}

// queueAddr is the address of one end of a carrier through a queue: the queue's, for nobody knows
// where at the broker the other end is.
func queueAddr(a Address) urlAddr {
	return urlAddr{Addr: queueName(Format(a)), scheme: urlScheme(a.Kind), at: a}
}

// queueName is a queue's address, where those of other transports have a socket's.
type queueName string

// Network implements net.Addr.
func (queueName) Network() string { return "queue" }

// String implements net.Addr.
func (n queueName) String() string { return string(n) }

var _ net.Addr = queueName("")
