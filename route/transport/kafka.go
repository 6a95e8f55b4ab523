package transport

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/secureportal/sp/route/queue"
	"github.com/secureportal/sp/wire"
)

// Kafka: all of a topic's messages are in its partitions. A box is the key of records in one
// partition, so that they keep their order; the queue's own box is the key hello, in whichever
// partition who says it reads. Who listens reads all partitions, and who dials one. Both begin at
// the end: old data is not read.

const (
	kafkaHello = "hello" // key of the queue's own box

	// kafkaDelivery is for the broker to have a record. Idempotence has it be there once, and in its
	// order, however often it was sent.
	kafkaDelivery = 30 * time.Second

	// kafkaFetch is the most bytes that one answer of a broker may have, kafkaPart those of one
	// partition in it, and kafkaWait how long a broker may take to have something to say.
	kafkaFetch = 8 << 20
	kafkaPart  = 2 << 20
	kafkaWait  = time.Second

	// kafkaFlush is for what was written last to be taken, at the end.
	kafkaFlush = 2 * time.Second

	// kafkaPartitions is the most partitions of a topic that are read.
	kafkaPartitions = 1024

	// kafkaPlain is the most bytes that a batch of records may be when it is no more compressed: sp
	// compresses nothing, but a broker may, and strangers write what they like.
	kafkaPlain = 4 << 20
)

// newKafka is the transport through topics of Kafka.
func newKafka(c Config) Transport {
	b := newBrokered(c)
	b.join = b.joinKafka
	return b
}

// kafkaQueue is a topic, as a hub uses it.
type kafkaQueue struct {
	*interruption
	topic  string
	self   queue.Box
	key    []byte                    // of self
	all    bool                      // the queue's own box is read
	places map[int32]bool            // the partitions that there are
	next   map[int32]kgo.EpochOffset // where each that is read goes on: read's own, after begin
	client *kgo.Client
	life   context.Context
	end    context.CancelFunc
	tasks  sync.WaitGroup
	long   kafkaRoom // for messages that no broker has taken
	short  kafkaRoom
	hurry  chan struct{} // closed when who sends is to wait no more

	mu    sync.Mutex // guards what follows
	muted bool
}

// hurried implements joined.
func (q *kafkaQueue) hurried() { close(q.hurry) }

// Close implements joined.
func (q *kafkaQueue) Close() {
	ctx, cancel := context.WithTimeout(q.life, kafkaFlush)
	_ = q.client.Flush(ctx)
	cancel()
	q.end()
	q.tasks.Wait()
	q.client.Close()
}

// mute implements joined.
func (q *kafkaQueue) mute() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.muted = true
}

func (q *kafkaQueue) isMuted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.muted
}

// joinKafka connects to a cluster, and reads a hub's box from where its partition ends.
func (b *brokered) joinKafka(
	ctx context.Context, a Address, j joining,
) (*queue.Hub, joined, error) {
	q := &kafkaQueue{
		interruption: newInterruption(), topic: queueOf(a), self: queue.Box{ID: j.self},
		key: []byte(hex.EncodeToString(j.self[:])), all: j.accept != nil,
		long: kafkaRoom{most: kafkaUnsent}, short: kafkaRoom{most: kafkaShort},
		hurry: make(chan struct{}),
	}
	q.life, q.end = context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	refused := &kafkaRefusals{stop: stop}
	var err error
	q.client, err = kgo.NewClient(b.kafkaOptions(a, refused, j.say)...)
	if err != nil {
		q.end()
		return nil, nil, err
	}
	if err := q.begin(ctx); err != nil {
		q.end()
		q.client.Close()
		return nil, nil, refused.explain(err)
	}
	hub := queue.NewHub(queue.Config{
		Send: q.send, Unsent: q.unsent, Most: queue.MaxMessage, Self: q.self, Has: q.has,
		Accept: j.accept,
	})
	q.tasks.Go(func() { q.read(hub) })
	return hub, q, nil
}

func (b *brokered) kafkaOptions(a Address, refused *kafkaRefusals, say func(error)) []kgo.Opt {
	host, _ := splitQueue(a)
	seed := net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
	options := []kgo.Opt{
		kgo.SeedBrokers(seed), kgo.ClientID("sp"),
		kgo.Dialer(func(ctx context.Context, _, at string) (net.Conn, error) {
			return b.dialKafka(ctx, a, at, refused)
		}),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(kafkaDelivery),
		// Also of what a broker has been given and has not answered. Nothing is said again that has
		// failed: then the connection with the broker is over.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.MaxBufferedRecords(kafkaRecords), // which is more than there are: see kafkaRoom
		kgo.FetchMaxBytes(kafkaFetch), kgo.FetchMaxPartitionBytes(kafkaPart),
		kgo.FetchMaxWait(kafkaWait), kgo.BrokerMaxReadBytes(2 * kafkaFetch),
		kgo.MaxDecompressBatchBytes(kafkaPlain),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.WithHooks(refused, &kafkaOutages{say: say}),
	}
	if l := b.config.Brokers.For(host, a.Port); l.User != "" {
		options = append(options, kgo.SASL(kafkaSASL{b.config.Brokers, l.Mechanism, refused}))
	}
	return options
}

// dialKafka makes a connection to one of a cluster's brokers, whose addresses the others say. It
// tries for a while only: the library has no limit where it does not dial itself.
func (b *brokered) dialKafka(
	ctx context.Context, a Address, at string, refused *kafkaRefusals,
) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.sooner())
	defer cancel()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	tcp, err := hostPort(host, port, 1)
	if err != nil {
		return nil, err
	}
	to, err := withURL(tcp, wire.Kafka, "/"+queueOf(a))
	if err != nil {
		return nil, err
	}
	first, _ := splitQueue(a)
	ip, err := netip.ParseAddr(host)
	home := err == nil && MustBeWritten(ip, "") || err != nil && isLocalhost(host)
	if home && host != first && b.config.Reach != nil {
		return nil, refused.note(fmt.Errorf("the broker says that another one is at %s: %w",
			Printable(at), ErrWithheld))
	}
	c, err := dialSocket(ctx, b.config, to)
	if err != nil {
		return nil, err
	}
	login := b.config.Brokers.For(host, to.Port)
	if !login.NeedsTLS(host) {
		return c, nil
	}
	over := tls.Client(c, login.TLSConfig(host))
	if err := over.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, refused.note(fmt.Errorf("TLS: %w", handshakeError(err)))
	}
	return over, nil
}

// begin finds out where the partitions end that are to be read, and reads from there.
func (q *kafkaQueue) begin(ctx context.Context) error {
	partitions, err := q.partitions(ctx)
	if err != nil {
		return err
	}
	q.places = make(map[int32]bool)
	for _, number := range partitions {
		q.places[number] = true
	}
	if !q.all { // one is enough for who dials
		partitions = partitions[rand.N(len(partitions)):][:1]
	}
	q.self.Place = uint32(partitions[0])
	ends, err := q.ends(ctx, partitions)
	if err != nil {
		return err
	}
	q.next = make(map[int32]kgo.EpochOffset)
	for number, end := range ends {
		q.next[number] = end.EpochOffset()
	}
	q.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{q.topic: ends})
	return nil
}

// has tells whether there is a partition of that number.
func (q *kafkaQueue) has(place uint32) bool {
	return place < kafkaPartitions && q.places[int32(place)]
}

// partitions asks for those of the topic.
func (q *kafkaQueue) partitions(ctx context.Context) ([]int32, error) {
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = kmsg.StringPtr(q.topic)
	r := kmsg.NewPtrMetadataRequest()
	r.Topics = append(r.Topics, of)
	answer, err := r.RequestWith(ctx, q.client)
	if err != nil {
		return nil, err
	}
	var all []int32
	for _, t := range answer.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return nil, err
		}
		for _, p := range t.Partitions {
			ours := t.Topic != nil && *t.Topic == q.topic
			if ours && p.Partition >= 0 && p.Partition < kafkaPartitions {
				all = append(all, p.Partition)
			}
		}
	}
	if len(all) == 0 {
		return nil, kerr.UnknownTopicOrPartition
	}
	slices.Sort(all)
	return all, nil
}

// ends asks where partitions end.
func (q *kafkaQueue) ends(ctx context.Context, of []int32) (map[int32]kgo.Offset, error) {
	const latest = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = q.topic
	for _, number := range of {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = number, latest
		t.Partitions = append(t.Partitions, p)
	}
	r := kmsg.NewPtrListOffsetsRequest()
	r.ReplicaID = -1
	r.Topics = append(r.Topics, t)
	answer, err := r.RequestWith(ctx, q.client)
	if err != nil {
		return nil, err
	}
	ends := make(map[int32]kgo.Offset)
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = kgo.NewOffset().At(p.Offset)
		}
	}
	for _, number := range of {
		if _, ok := ends[number]; !ok {
			return nil, kerr.UnknownTopicOrPartition
		}
	}
	return ends, nil
}

// read hands over what comes, until the end.
func (q *kafkaQueue) read(hub *queue.Hub) {
	for {
		fetches := q.client.PollFetches(q.life)
		if q.life.Err() != nil {
			return
		}
		fetches.EachRecord(func(r *kgo.Record) {
			q.next[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
			hello := q.all && string(r.Key) == kafkaHello && !q.isMuted()
			if hello || string(r.Key) == string(q.key) {
				hub.Receive(slices.Clone(r.Value)) // and not all of what was fetched
			}
		})
		q.unread(fetches)
		select {
		case <-q.lost():
			return
		default:
		}
	}
}

// unread goes on after batches that are too large to be of sp's, whoever has written them. Any
// other error ends the connection, and so does a batch that a broker has taken without a look at it
// and that is none: the next connection begins behind that.
//
// All partitions are begun again, each where reading it has come to: the client forgets then what
// it has fetched, and would never read on in a partition whose own large batch is among that.
func (q *kafkaQueue) unread(fetches kgo.Fetches) {
	again := false
	fetches.EachError(func(_ string, _ int32, err error) {
		var large *kgo.ErrDecompressTooLarge
		if !errors.As(err, &large) {
			q.note(err)
			return
		}
		q.next[large.Partition] = kgo.EpochOffset{Epoch: large.Epoch, Offset: large.NextOffset}
		again = true
	})
	if again {
		q.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{q.topic: q.next})
	}
}

// send has the broker take a message for a box. It waits while much has not been taken, which ends
// after kafkaDelivery at the latest, or when the queue is hurried.
func (q *kafkaQueue) send(to queue.Box, m []byte) error {
	select {
	case <-q.lost():
		return q.why()
	default:
	}
	key, place := hex.EncodeToString(to.ID[:]), to.Place
	if to == (queue.Box{}) {
		key, place = kafkaHello, q.self.Place
	}
	if !q.has(place) {
		return fmt.Errorf("the topic has no partition %d", place) // the others live on
	}
	room, cost := &q.long, len(m)+kafkaRecord
	if len(m) <= shortMessage {
		room = &q.short
	}
	if err := room.take(cost, q.hurry, q.lost(), q.why); err != nil {
		return err
	}
	q.client.TryProduce(q.life, &kgo.Record{
		Topic: q.topic, Partition: int32(place), Key: []byte(key), Value: slices.Clone(m),
	}, func(_ *kgo.Record, err error) {
		room.give(cost)
		if err != nil {
			q.note(new(kafkaRefusals).explain(err))
		}
	})
	return nil
}

// unsent is what no broker has taken but for what it takes its time to say so of.
func (q *kafkaQueue) unsent() int { return max(q.long.taken()+q.short.taken()-kafkaUnderWay, 0) }

// kafkaRefusals remembers why a broker was not gone on with: the client tries again, and again. It
// is safe for concurrent use.
type kafkaRefusals struct {
	stop func() // has the client try no more

	mu   sync.Mutex // guards what follows
	err  error
	cuts int // of log ins, one after the other
}

func (r *kafkaRefusals) note(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	return err
}

// explain says what is wrong in words of what the user has to do with.
func (r *kafkaRefusals) explain(err error) error {
	r.mu.Lock()
	noted := r.err
	r.mu.Unlock()
	var missing *net.OpError
	switch {
	case noted != nil:
		return &refusedError{noted}
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kgo.ErrClientClosed):
		return &refusedError{errors.New("the broker has no such topic: whoever runs it makes one, " +
			"with a retention of some minutes and without compaction")}
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.IllegalSaslState),
		errors.Is(err, kerr.UnsupportedSaslMechanism):
		return &refusedError{errNotLetIn}
	case errors.Is(err, kerr.TopicAuthorizationFailed),
		errors.Is(err, kerr.ClusterAuthorizationFailed):
		return &refusedError{errors.New("the broker does not permit it: this node reads and writes " +
			"the topic, and writes idempotently")}
	case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &missing):
		return fmt.Errorf("no Kafka broker answers in time; one that asks for SASL or TLS may not say "+
			"so, and is told by the file of brokers: %w", context.DeadlineExceeded)
	}
	return withoutOperation(err)
}
