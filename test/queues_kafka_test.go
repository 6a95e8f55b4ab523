//go:build unix

package test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/brokertest/kafka"
	"github.com/secureportal/sp/internal/testenv"
)

// TestKafkaRecords has another program read what is in a topic after somebody has said something:
// well formed records, whose text nobody reads.
func TestKafkaRecords(t *testing.T) {
	t.Parallel()
	kcat := testenv.NeedTool(t, "kcat")
	u := newPerson(t)
	broker := kafka.Start(t, kafka.Config{Topic: "sp.test", Partitions: 2})
	to := u.outletAt("kafka://"+broker.Address+"/sp.test", service(t, echo))
	const secret = "nobody reads this in between"
	if err := echoes(dial(t, u.inletTo(to)), secret); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(kcat, "-C", "-b", broker.Address, "-t", "sp.test", "-e", "-q",
		"-o", "beginning", "-f", "%k %S %p\n%s\n").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if bytes.Contains(out, []byte(secret)) {
		t.Error("the broker has what was said")
	}
	for _, want := range []string{"hello ", "\x01\x01", "\x01\x02", "\x01\x03"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("no record has %q", want)
		}
	}
}

// TestKafkaLogin has who is named in the file of brokers get in, and others told what to do.
func TestKafkaLogin(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	broker := kafka.Start(t, kafka.Config{
		Topic: "sp.test", Partitions: 2, User: "sp", Password: "hunter2",
	})
	logins := u.file("brokers", "127.0.0.1 user sp\n127.0.0.1 password hunter2\n")
	at := "kafka://" + broker.Address + "/sp.test"
	to := u.outletAt(at, service(t, echo), "--brokers", logins)
	if err := echoes(dial(t, u.inletTo(to, "--brokers", logins)), "hello"); err != nil {
		t.Error(err)
	}
	wrong := u.file("wrong", "127.0.0.1 user sp\n127.0.0.1 password hunter3\n")
	refused := []string{"outlet", "--target", anywhere, "--brokers", wrong, "--listen"}
	u.fails(1, "the file of brokers", append(refused, at)...)
	broker = kafka.Start(t, kafka.Config{
		Topic: "sp.test", Partitions: 2, User: "sp", Password: "hunter2", Refuses: true,
	})
	u.fails(1, "the file of brokers", append(refused, "kafka://"+broker.Address+"/sp.test")...)
}

// TestSurvivesKafka kills all brokers under connections, and starts them again with what they had.
func TestSurvivesKafka(t *testing.T) {
	alone(t)
	rounds, connections := testenv.OfFull(1, 10), testenv.OfFull(5, 50)
	broker := kafka.Start(t, kafka.Config{Topic: "sp.test", Partitions: 3, Folder: t.TempDir()})
	at := fmt.Sprintf("kafka://%s/sp.test", broker.Address)
	me := survivor(t)
	to := me.outletAt(at, steadyService(t))
	if !strings.Contains(to, "/kafka/") {
		t.Errorf("the route is %s", to)
	}
	c := newChorus(t, connections, steadyPace(connections), me.inletTo(to))
	for range rounds {
		broker.Kill()
		broker.Start()
		c.goesOn()
	}
	c.ends()
}
