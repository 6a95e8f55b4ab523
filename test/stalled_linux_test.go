package test

import (
	"crypto/sha256"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// littleMemory is what each process of TestStalledReaders may use: held in large buffers, what
// those who do not read have not taken would be several times as much.
const (
	littleMemory    = "64M"
	littleMemoryKiB = 64 << 10
)

// TestStalledReaders has many connections whose reader does not read, downloads and uploads, in
// processes with little memory, whether they outlive their links or not. All live, take new
// connections meanwhile, and deliver everything once it is read. Only one of them runs at a time:
// the kernel's own memory for sockets is limited.
func TestStalledReaders(t *testing.T) {
	alone(t)
	for name, p := range map[string]plan{
		"direct": {}, "relay": {relay: true}, "mux": {relay: true, outlet: []string{"--mux"}},
	} {
		for _, upload := range []bool{false, true} {
			for _, survives := range []bool{false, true} {
				if upload != survives && !testenv.Full() {
					continue // a half of them does for .ci/run
				}
				if !isLonger() && (name == "direct" || survives != (name == "mux")) {
					continue // and less for every day: what a relay does is part of the others
				}
				title := name + ", downloads"
				if upload {
					title = name + ", uploads"
				}
				if survives {
					title += " that outlive links"
				}
				t.Run(title, func(t *testing.T) {
					p := p
					if p.who = newPerson(t); survives {
						p.who = survivor(t)
					}
					p.inlets, p.flags = 1, []string{"--memory", littleMemory}
					stalled(t, p, upload)
				})
			}
		}
	}
}

func stalled(t *testing.T, p plan, upload bool) {
	const size = 1 << 20
	n := testenv.OfFull(125, 1000)
	if p.relay && p.outlet != nil {
		n /= 2 // each has 256 KiB of the mux's own to begin with
	}
	reads := make(chan struct{})
	digests := make(chan digest, n)
	p.target = service(t, func(c conn) {
		beStalled(c)
		switch first := make([]byte, 1); {
		case readFirst(c, first) != nil:
		case sendAll(c, first) != nil:
		case first[0] == 'e':
		case upload:
			<-reads
			d, _ := receiveStream(c)
			digests <- d
		default:
			_ = sendStream(c, 7, size)
		}
	})
	w := newTopology(t, p)
	var all []conn
	var sending sync.WaitGroup
	for range n {
		c := getThrough(t, w.address, "x")
		beStalled(c)
		all = append(all, c)
		if upload {
			sending.Go(func() {
				_ = sendStream(c, 7, size)
				_ = c.CloseWrite()
			})
		}
	}
	ask := func() { _ = getThrough(t, w.address, "e").Close() }
	for range 20 { // while buffers fill
		ask()
		<-time.After(50 * time.Millisecond)
	}
	t.Logf("%d stalled readers", n)
	for _, part := range []*process{w.inlet, w.outlet, w.relay} {
		hadLittle(t, part)
	}
	close(reads)
	want := digestOf(7, size)
	for i, c := range all {
		var got digest
		if upload {
			got = testkit.Within(t, digests, "an upload")
		} else {
			h := sha256.New()
			read, err := io.Copy(h, struct{ io.Reader }{c})
			if err != nil {
				t.Fatalf("download %d: %v", i, err)
			}
			got = digest{read, [sha256.Size]byte(h.Sum(nil))}
		}
		if got != want {
			t.Fatalf("connection %d: other bytes came, or not all of %d", i, size)
		}
		_ = c.Close()
	}
	sending.Wait()
	ask()
}

// beStalled gives a connection the time that everything takes where nobody reads for long.
func beStalled(c conn) {
	_ = c.SetDeadline(time.Now().Add(pulse.Stretch(10*patience, time.Now().Add(-recently))))
}

// hadLittle checks that a process, if there is one, has kept to its memory.
func hadLittle(t *testing.T, part *process) {
	t.Helper()
	if part == nil {
		return
	}
	u := part.use()
	t.Logf("%s had %d KiB", part.cmd.Args[1], u.peak)
	if u.peak > littleMemoryKiB && !raceDetector {
		t.Errorf("%s had more than %d KiB", part.cmd.Args[1], littleMemoryKiB)
	}
}

// getThrough connects to an inlet, says a byte that the service answers with the same, and tries
// again where this machine is too slow for the time that sp has to open a connection.
func getThrough(t *testing.T, inlet, first string) conn {
	t.Helper()
	for left := attempts; ; left-- {
		began := time.Now()
		c := dial(t, inlet)
		err := sendAll(c, []byte(first))
		if err == nil {
			err = readFirst(c, make([]byte, 1))
		}
		if err == nil {
			return c
		}
		_ = c.Close()
		if left == 0 || pulse.Slowness(began) < tooSlow {
			t.Fatalf("the service is not reached: %v", err)
		}
	}
}

func sendAll(c conn, b []byte) error {
	_, err := c.Write(b)
	return err
}

func readFirst(c conn, b []byte) error {
	_, err := io.ReadFull(c, b)
	return err
}
