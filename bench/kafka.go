//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// kafkaPartitions is how many the topic has: an inlet and an outlet have one each, and more.
const kafkaPartitions = 4

// runKafka is a broker that speaks Kafka and keeps nothing on a disk.
func runKafka(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kafka", flag.ContinueOnError)
	topic := flags.String("topic", "", "that is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(kafkaPartitions, *topic))
	if err != nil {
		return err
	}
	defer cluster.Close()
	fmt.Println(cluster.ListenAddrs()[0])
	<-ctx.Done()
	return nil
}
