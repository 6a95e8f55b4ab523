package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/brokertest/kafka"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/queue"
)

// A broker that cannot be reached is said to be so once it has been for a while, and then not each
// time that it is tried.
func TestKafkaOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		o := &kafkaOutages{say: func(err error) { said = append(said, err.Error()) }}
		at := kgo.BrokerMetadata{Host: "b1", Port: 9092}
		try := func(err error, tries int, want int) {
			t.Helper()
			for range tries {
				o.OnBrokerConnect(at, 0, nil, err)
				time.Sleep(time.Second)
			}
			if len(said) != want {
				t.Errorf("%q", said)
			}
			said = nil
		}
		refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		try(refused, 29, 0)
		try(nil, 1, 0)
		try(refused, 30, 0)
		try(refused, 1, 1)
		try(refused, 65, 2)
		try(context.Canceled, 40, 0)
		try(nil, 1, 0)
		time.Sleep(time.Hour) // nobody has tried
		try(refused, 20, 0)
		for i := range 2 * maxAway {
			at.Port = int32(i)
			o.OnBrokerConnect(at, 0, nil, refused)
		}
		if len(o.away) > maxAway {
			t.Errorf("%d brokers are known", len(o.away))
		}
	})
}

// Who ends what is on a connection to a broker that takes nothing any more does not wait for it.
func TestKafkaClosesInTime(t *testing.T) {
	t.Parallel()
	pulse := testkit.StartPulse()
	defer pulse.Stop()
	broker := startKafka(t)
	a, err := Parse("kafka://" + broker.Address + "/sp.test")
	if err != nil {
		t.Fatal(err)
	}
	accept := func(*queue.Carrier) bool { return true }
	hub, by, err := newBrokered(Config{}.withDefaults()).joinKafka(
		testkit.Context(t), a, joining{self: queue.NewID(), accept: accept})
	if err != nil {
		t.Fatal(err)
	}
	q := by.(*kafkaQueue)
	broker.Kill()
	to := queue.Box{ID: queue.NewID(), Place: q.self.Place}
	sent := make(chan error)
	for _, size := range []int{queue.MaxMessage, shortMessage} {
		go func() {
			for {
				if err := q.send(to, make([]byte, size)); err != nil {
					sent <- err
					return
				}
			}
		}()
	}
	testkit.Eventually(t, "no more room", func() bool {
		q.long.mu.Lock()
		defer q.long.mu.Unlock()
		q.short.mu.Lock()
		defer q.short.mu.Unlock()
		return q.long.change != nil && q.short.change != nil
	})
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		(&present{hub: hub, by: by}).close()
		close(ended)
	}()
	for range 2 {
		if err := <-sent; !errors.Is(err, errHurried) {
			t.Error(err)
		}
	}
	testkit.Within(t, ended, "the end")
	if took := time.Since(began); took > pulse.Stretch(kafkaDelivery/2, began) {
		t.Errorf("that took %v", took)
	}
}

func startKafka(t testing.TB) *brokertest.Process {
	return kafka.Start(t, kafka.Config{Topic: "sp.test", Partitions: 3})
}

// kafkaEnds are who listens and who dials at a topic, without what is above them.
func kafkaEnds(t *testing.T) (far, near *queue.Hub, farBy, nearBy *kafkaQueue, a Address) {
	t.Helper()
	a, err := Parse(atBroker(t, "kafka://BROKER/sp.test"))
	if err != nil {
		t.Fatal(err)
	}
	b := newBrokered(Config{}.withDefaults())
	join := func(accept func(*queue.Carrier) bool) (*queue.Hub, *kafkaQueue) {
		hub, by, err := b.joinKafka(testkit.Context(t), a, joining{self: queue.NewID(), accept: accept})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			(&present{hub: hub, by: by}).close()
		})
		return hub, by.(*kafkaQueue)
	}
	far, farBy = join(func(*queue.Carrier) bool { return true })
	near, nearBy = join(nil)
	return far, near, farBy, nearBy, a
}

// Strangers write a hello that asks for an answer where there is no partition, and a batch that is
// small only as long as it is compressed. Others do not notice.
func TestKafkaStrangers(t *testing.T) {
	_, near, farBy, nearBy, a := kafkaEnds(t)
	host, _ := splitQueue(a)
	stranger, err := kgo.NewClient(
		kgo.SeedBrokers(net.JoinHostPort(host, fmt.Sprint(a.Port))),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(2*kafkaPlain),
		kgo.ProducerBatchCompression(kgo.GzipCompression()),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	hello := append([]byte{1, 1}, make([]byte, 2*queue.IDSize+16+8)...)
	for i := 2; i < len(hello); i++ {
		hello[i] = 0xff // the place as well
	}
	for _, value := range [][]byte{hello, make([]byte, kafkaPlain+1)} {
		for partition := range int32(3) {
			r := stranger.ProduceSync(testkit.Context(t), &kgo.Record{
				Topic: "sp.test", Partition: partition, Key: []byte(kafkaHello), Value: value,
			})
			if err := r.FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, _, err := near.Dial(testkit.Context(t), queue.Dialing{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	for _, by := range []*kafkaQueue{farBy, nearBy} {
		select {
		case <-by.lost():
			t.Error(by.why())
		default:
		}
	}
	if err := nearBy.send(queue.Box{ID: queue.NewID(), Place: 1 << 31}, nil); err == nil {
		t.Error("there is no such partition")
	}
}
