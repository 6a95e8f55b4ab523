//go:build unix

package test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// TestSurvivesOpening kills the relay under connections that are short, so that many are being
// opened or ended at that moment: none of them is told of an error either. No connection is there
// at more than one kill.
func TestSurvivesOpening(t *testing.T) {
	alone(t)
	const most = 16 << 10 // bytes of a talk, each way
	kills := testenv.OfRun(1, 3, 100)
	w := newLasting(t, plan{
		program: "talk", inlets: 1, flags: []string{
			"--log-level", "debug", "--connect-timeout", unhurried(10 * time.Second).String(),
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	talked := make([]atomic.Int64, 8)
	var failed atomic.Int64
	for i := range talked {
		tasks.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for ctx.Err() == nil {
				err := talkOnce(w.address, talk{r.Uint64(), r.Int64N(most), r.Int64N(most)})
				if err != nil {
					failed.Add(1)
					t.Error(err)
				}
				talked[i].Add(1)
			}
		})
	}
	for range kills {
		eachGrows(t, talked, 2)
		w.kill("relay")
		w.revive("relay")
	}
	eachGrows(t, talked, 2)
	stop()
	tasks.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d connections were told of an error:\n%s", n,
			strings.Join(w.inlet.linesWith("connection failed"), ""))
	}
}

// TestSurvivesMuchOpening has clients say much in connections of which nothing has come to the
// outlet when the session is lost: it comes back from the service once, and so does what is said
// later.
func TestSurvivesMuchOpening(t *testing.T) {
	t.Parallel()
	const connections, size, more = 3, 900 << 10, 2 << 20
	w := newTopology(t, plan{who: survivor(t), program: "echo"})
	outlet := hostPortOf(w.route())
	var said atomic.Int64
	between := proxy(t, outlet, faultnet.ProxyConfig{
		Buffer: connections * (size + more), // a hole takes no more
		Tap: func(_ int, dir faultnet.Direction, p []byte) {
			if dir == faultnet.ClientToServer {
				said.Add(int64(len(p)))
			}
		},
	})
	w.connect(between.Addr(), "--connect-timeout", unhurried(10*time.Second).String())
	if err := echoes(w.dial(), "hello"); err != nil {
		t.Fatal(err)
	}
	between.BlackHole(true)
	before := said.Load()
	var clients []conn
	var streams []io.Reader
	for n := range connections {
		c, words := w.dial(), stream(uint64(n), size+more)
		if _, err := io.CopyN(c, words, size); err != nil {
			t.Fatal(err)
		}
		clients, streams = append(clients, c), append(streams, words)
	}
	eventually(t, "all has been said", func() bool {
		return said.Load()-before >= connections*size
	})
	between.Reset() // before what it holds can come out
	between.BlackHole(false)
	var tasks sync.WaitGroup
	for n, c := range clients {
		answered := make(chan struct{})
		tasks.Go(func() {
			<-answered
			_, err := io.Copy(c, streams[n])
			if err = errors.Join(err, c.CloseWrite()); err != nil {
				t.Error("sending: ", err)
			}
		})
		tasks.Go(func() {
			first := make([]byte, 1)
			_, err := io.ReadFull(c, first)
			close(answered)
			if err != nil {
				t.Error("the answer: ", err)
				return
			}
			got, err := receiveStream(io.MultiReader(bytes.NewReader(first), c))
			if err != nil || got != digestOf(uint64(n), size+more) {
				t.Errorf("%d of %d bytes come back, %v", got.size, size+more, err)
			}
		})
	}
	tasks.Wait()
}

// eachGrows waits until each counter has grown by n.
func eachGrows(t *testing.T, counters []atomic.Int64, n int64) {
	t.Helper()
	for i := range counters {
		want := counters[i].Load() + n
		eventually(t, "each goes on", func() bool { return counters[i].Load() >= want })
	}
}
