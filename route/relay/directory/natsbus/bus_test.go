package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/natsconn"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/relay/directory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connected returns a bus that is connected with one of some servers.
func connected(t *testing.T, at ...string) *Bus {
	t.Helper()
	return connectedAs(t, brokers.Login{}, at...)
}

func connectedAs(t *testing.T, login brokers.Login, at ...string) *Bus {
	t.Helper()
	b := New(Config{
		Servers: func() (all []natsconn.Server, err error) {
			for _, a := range at {
				all = append(all, natsconn.Server{Address: a, Login: login})
			}
			return all, nil
		},
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		testkit.Within(t, done, "the end of the bus")
	})
	up(t, b)
	return b
}

func up(t *testing.T, b *Bus) {
	t.Helper()
	testkit.Eventually(t, "the bus is up", func() bool {
		s, _ := b.State()
		return s.Up
	})
}

func ask(b *Bus, subject string) (answers []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = b.Ask(ctx, subject, []byte("?"), func(b []byte) bool {
		answers = append(answers, string(b))
		return true
	})
	return answers, err
}

// Somebody who listens is asked, by whatever server of the cluster, and where nobody does it is
// known at once. What listens goes on to when the server is killed.
func TestBus(t *testing.T) {
	servers := brokertest.NATSCluster(t, 3, "")
	holder := connected(t, servers[0].Address)
	asker := connected(t, servers[1].Address, servers[2].Address)
	stop := holder.Listen("sp.1.h.a", func(said []byte, answer func([]byte)) {
		answer(append(said, '!'))
	})
	testkit.Eventually(t, "the name is found", func() bool {
		got, err := ask(asker, "sp.1.h.a")
		return err == nil && fmt.Sprint(got) == "[?!]"
	})
	began := time.Now()
	if _, err := ask(asker, "sp.1.h.b"); !errors.Is(err, directory.ErrNobody) {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	servers[0].Kill()
	testkit.Eventually(t, "the holder is gone", func() bool {
		s, _ := holder.State()
		return !s.Up && s.Err != nil
	})
	if _, err := ask(holder, "sp.1.h.b"); !errors.Is(err, directory.ErrDown) {
		t.Error(err)
	}
	servers[0].Start()
	up(t, holder)
	testkit.Eventually(t, "the name is found again", func() bool {
		got, err := ask(asker, "sp.1.h.a")
		return err == nil && len(got) == 1
	})
	stop()
	// A server that has just been started again may take a while to know that nobody does.
	testkit.Eventually(t, "nobody answers any more", func() bool {
		got, err := ask(asker, "sp.1.h.a")
		return err != nil && len(got) == 0
	})
}

// Who asks cannot have anything said to somebody else.
func TestAnswersGoWhereAnswersAreHeard(t *testing.T) {
	server := brokertest.NATS(t, "")
	b := connected(t, server.Address)
	for to, good := range map[string]bool{
		"sp.1.r.x.y": true, "": false, "orders.new": false, "sp.1.r.*": false, "sp.1.o.x": false,
		"sp.1.r.x y": false,
	} {
		if got := b.answerer(to) != nil; got != good {
			t.Errorf("%q: %v", to, got)
		}
	}
}
