package natsconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/testkit"
)

func dial(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// polite says what a server says to who connects, and returns what it was told.
func polite(c net.Conn, info string) string {
	_, _ = c.Write([]byte("INFO " + info + "\r\n"))
	in, told := bufio.NewReader(c), ""
	for !strings.HasSuffix(told, "PING\r\n") {
		line, err := in.ReadString('\n')
		if told += line; err != nil {
			return told
		}
	}
	_, _ = c.Write([]byte("PONG\r\n"))
	return told
}

// A server that lies about a size does not take this process with it.
func TestLyingServer(t *testing.T) {
	at := testkit.Serve(t, func(c net.Conn) {
		polite(c, `{"max_payload":1048576}`)
		_, _ = c.Read(make([]byte, 4096)) // the client has been let in
		_, _ = c.Write([]byte("MSG a 1 9000000000000000000\r\nabc"))
		_, _ = c.Read(make([]byte, 1))
	})
	lost := make(chan error, 1)
	c, err := Connect(t.Context(), Config{
		Servers: []Server{{Address: at}}, Dial: dial, Lost: func(err error) { lost <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish("a", nil); err != nil {
		t.Fatal(err)
	}
	testkit.Within(t, c.Closed(), "the end of the connection")
	if err := <-lost; err == nil || !strings.Contains(err.Error(), "not NATS") {
		t.Errorf("lost: %v", err)
	}
}

// What is one broker's is shown to no other one, though both are of one cluster.
func TestSecretsOfEachServer(t *testing.T) {
	said := make(chan string, 2)
	var servers []Server
	at := testkit.Serve(t, func(c net.Conn) { said <- polite(c, `{}`) })
	dead := testkit.Address(t)
	servers = append(servers,
		Server{dead, brokers.Login{User: "u", Password: "hunter2"}}, Server{Address: at})
	c, err := Connect(t.Context(), Config{Servers: servers, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-said; strings.Contains(got, "hunter2") {
		t.Errorf("it was told %s", got)
	}
}

// Who is in between, and takes out that there is TLS, is not shown what is secret.
func TestSecretsInClear(t *testing.T) {
	for _, one := range []struct {
		host  string
		login brokers.Login
		want  bool
	}{
		{"broker.example", brokers.Login{}, true},
		{"broker.example", brokers.Login{User: "u", Password: "hunter2"}, false},
		{"192.0.2.1", brokers.Login{Token: "hunter2"}, false},
		{"broker.example", brokers.Login{Token: "hunter2", InClear: true}, true},
		{"127.0.0.1", brokers.Login{Token: "hunter2"}, true},
		{"::1", brokers.Login{Token: "hunter2"}, true},
		{"localhost", brokers.Login{Token: "hunter2"}, true},
		{"localhost.example", brokers.Login{Token: "hunter2"}, false},
	} {
		said := make(chan string, 1)
		at := testkit.Serve(t, func(c net.Conn) { said <- polite(c, `{}`) })
		c, err := Connect(t.Context(), Config{
			Servers: []Server{{net.JoinHostPort(one.host, "4222"), one.login}},
			Dial:    func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, at) },
		})
		if err == nil {
			c.Close()
		}
		if (err == nil) != one.want {
			t.Errorf("%s: %v", one.host, err)
		}
		if told := <-said; !one.want && strings.Contains(told, "hunter2") {
			t.Errorf("%s was told %q", one.host, told)
		}
	}
}

// A server that lets nobody in does not have anybody wait for longer than he wants to.
func TestConnectEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() {
			_, _ = far.Write([]byte("INFO {}\r\n"))
			_, _ = io.Copy(io.Discard, far)
		}()
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		time.AfterFunc(time.Second, cancel)
		_, err := Connect(ctx, Config{
			Servers: []Server{{Address: "192.0.2.1:4222"}},
			Dial:    func(context.Context, string) (net.Conn, error) { return near, nil },
		})
		if took := time.Since(began); took > time.Second || !errors.Is(err, context.Canceled) {
			t.Errorf("%v after %v", err, took)
		}
		_ = far.Close()
	})
}

func TestExplains(t *testing.T) {
	quiet := testkit.Serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	web := testkit.Serve(t, func(c net.Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	})
	plain := testkit.Serve(t, func(c net.Conn) { polite(c, "{}") })
	strict := testkit.Serve(t, func(c net.Conn) {
		_, _ = c.Write([]byte("INFO {}\r\n"))
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("-ERR 'Authorization Violation'\r\n"))
	})
	for _, one := range []struct {
		at    string
		login brokers.Login
		want  string
	}{
		{web, brokers.Login{}, "not NATS"},
		{plain, brokers.Login{TLS: true}, "does not speak TLS"},
		{strict, brokers.Login{}, "does not let this node in"},
		{plain, brokers.Login{TLS: true, TLSFirst: true}, "speaks no TLS"},
		{quiet, brokers.Login{}, "in time"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if one.at == quiet {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		_, err := Connect(ctx, Config{Servers: []Server{{one.at, one.login}}, Dial: dial})
		cancel()
		if err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%v, and not %q", err, one.want)
		}
	}
}

// A server that is killed and started again is connected to again, and what was published meanwhile
// has failed.
func TestReconnects(t *testing.T) {
	server := brokertest.NATS(t, `authorization { user: u, password: p }`)
	lost, back := make(chan error, 9), make(chan struct{}, 9)
	c, err := Connect(t.Context(), Config{
		Servers: []Server{{server.Address, brokers.Login{User: "u", Password: "p"}}}, Dial: dial,
		Reconnect: true,
		Lost:      func(err error) { lost <- err }, Back: func() { back <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	came := make(chan string, 9)
	_, err = c.Subscribe("a", func(m *nats.Msg) { came <- string(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	testkit.Within(t, lost, "the news that it is lost")
	if err := c.Publish("a", []byte("lost")); err == nil {
		t.Error("something was published to nobody")
	}
	server.Start()
	testkit.Within(t, back, "the news that it is back")
	if err := c.Publish("a", []byte("new")); err != nil {
		t.Error(err)
	}
	if got := testkit.Within(t, came, "a message"); got != "new" {
		t.Errorf("%q came", got)
	}
}

// A real server, over TLS, with a token.
func TestTLS(t *testing.T) {
	certificate, key := brokertest.Certificate(t)
	server := brokertest.NATS(t, fmt.Sprintf(
		"authorization { token: T }\ntls { cert_file: %q, key_file: %q }", certificate, key))
	_, port, _ := net.SplitHostPort(server.Address)
	at := "localhost:" + port
	read := func(path string) ([]byte, error) { return os.ReadFile(path) }
	all, err := brokers.Parse("localhost ca "+certificate+"\nlocalhost token T\n", read)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Connect(t.Context(), Config{
		Servers: []Server{{at, all.For("localhost", 4222)}}, Dial: dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	_, err = Connect(t.Context(), Config{
		Servers: []Server{{at, brokers.Login{Token: "T"}}}, Dial: dial,
	})
	if err == nil || !strings.Contains(err.Error(), "signed by nobody") {
		t.Errorf("a stranger's certificate: %v", err)
	}
}
