package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/secureportal/sp/internal/brokers"
)

// kafkaSASL logs in at each broker of a cluster with what is for that one.
type kafkaSASL struct {
	logins    *brokers.Logins
	mechanism string
	refused   *kafkaRefusals
}

var _ sasl.Mechanism = kafkaSASL{}

const scramDefault = "scram-sha-512"

// maxCuts is how many connections have to end in place of an answer to a log in, one after the
// other, for that to be the answer. One may as well be a broker that ends.
const maxCuts = 2

var errNotLetIn = errors.New("the broker does not let this node in: the file of brokers has to " +
	"have its user, password and sasl mechanism, under the host that the address has")

var _ kgo.HookBrokerRead = (*kafkaRefusals)(nil)

// OnBrokerRead implements kgo.HookBrokerRead: some brokers say of a wrong password that it is one,
// and others nothing, on which the client goes on trying.
func (r *kafkaRefusals) OnBrokerRead(
	_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error,
) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kmsg.Key(key) {
	case kmsg.ApiVersions, kmsg.SASLHandshake: // which come before
		return
	case kmsg.SASLAuthenticate:
	default: // somebody is in
		if err == nil {
			r.cuts = 0
		}
		return
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if r.cuts++; r.cuts >= maxCuts {
		r.err = errNotLetIn
		r.stop()
	}
}

// Name implements sasl.Mechanism.
func (s kafkaSASL) Name() string {
	if s.mechanism == "" {
		return strings.ToUpper(scramDefault)
	}
	return strings.ToUpper(s.mechanism)
}

// Authenticate implements sasl.Mechanism. What one broker says where others are is no reason to
// show them anything.
func (s kafkaSASL) Authenticate(ctx context.Context, at string) (sasl.Session, []byte, error) {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, nil, errors.New("a broker without a port")
	}
	l := s.logins.For(host, uint16(n))
	if l.User == "" {
		return nil, nil, s.refused.note(fmt.Errorf("the file of brokers has no user for %s, which the "+
			"broker has named: *.DOMAIN there is all hosts below one", Printable(at)))
	}
	var by sasl.Mechanism
	switch s.Name() {
	case "PLAIN":
		by = saslplain.Auth{User: l.User, Pass: l.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		by = scram.Auth{User: l.User, Pass: l.Password}.AsSha256Mechanism()
	default:
		by = scram.Auth{User: l.User, Pass: l.Password}.AsSha512Mechanism()
	}
	return by.Authenticate(ctx, at)
}
