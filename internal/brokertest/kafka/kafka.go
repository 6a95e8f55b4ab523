// Package kafka runs Kafka's protocol for tests: three brokers of franz-go's kfake, as a process of
// their own, which is the test's own program again. The TestMain of a package that uses it begins
// with Serve.
package kafka

import (
	"encoding/json"
	"net"
	"os"
	"os/signal"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/testkit"
)

// variable has a test's program be brokers.
const variable = "SP_TEST_KAFKA"

// Config is what brokers are.
type Config struct {
	Topic          string
	Partitions     int32
	User, Password string // of SASL, SCRAM-SHA-512; "" is nobody
	Refuses        bool   // who logs in is told that he may not; else his connection ends
	Folder         string // where they keep what they have; "" is nowhere
	Ports          []int
}

// Serve is brokers until it is killed, if this process was started for that.
func Serve() {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	options := []kfake.Opt{
		kfake.NumBrokers(len(c.Ports)), kfake.Ports(c.Ports...), kfake.SeedTopics(c.Partitions, c.Topic),
	}
	if c.Folder != "" {
		options = append(options, kfake.DataDir(c.Folder), kfake.SyncWrites())
	}
	if c.User != "" {
		options = append(options, kfake.EnableSASL(),
			kfake.Superuser("SCRAM-SHA-512", c.User, c.Password))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		panic(err)
	}
	if c.Refuses {
		cluster.ControlKey(kmsg.SASLAuthenticate.Int16(), refuse(cluster))
	}
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, os.Interrupt)
	<-wait
	os.Exit(0)
}

// refuse has a cluster let nobody in, and say so.
func refuse(c *kfake.Cluster) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer := q.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return answer, nil, true
	}
}

// Start runs three brokers, which end with t. The address is that of the first.
func Start(t testing.TB, c Config) *brokertest.Process {
	t.Helper()
	for range 3 {
		_, text, _ := net.SplitHostPort(testkit.Address(t))
		port, _ := strconv.Atoi(text)
		c.Ports = append(c.Ports, port)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return brokertest.Again(t, c.Ports[0], variable+"="+string(text))
}
