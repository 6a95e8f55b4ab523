package faultnet

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

func lines(Direction) Splitter { return Lines }

func plan(t *testing.T, text string) Plan {
	t.Helper()
	p, err := ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// onLink runs f in a bubble with a pipe of that plan.
func onLink(t *testing.T, text string, f func(t *testing.T, client, server *Conn, k *Link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server, k := FaultyPipe(Config{Plan: plan(t, text), Split: lines})
		defer func() { client.Close(); server.Close() }()
		defer k.Close()
		f(t, client, server, k)
	})
}

// silent reads nothing for a day.
func silent(t *testing.T, c *Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(24 * time.Hour))
	n, err := c.Read(make([]byte, 1))
	if wantTimeout(t, err); n != 0 {
		t.Error("read something")
	}
	c.SetReadDeadline(time.Time{})
}

func TestCleanLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, k := FaultyPipe(Config{})
		swap(t, client, server, 1<<20)
		client.Close()
		server.Close()
		<-k.Done() // by itself
		if fired := k.Fired(); fired != nil {
			t.Errorf("fired %v", fired)
		}
	})
}

func TestHalfClosePasses(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		client.CloseWrite()
		expectEnd(t, server, "", nil)
		time.Sleep(time.Hour)
		testkit.Write(t, server, "late")
		testkit.Expect(t, client, "late")
		server.CloseWrite()
		expectEnd(t, client, "", nil)
	})
}

func TestResetPasses(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		testkit.Write(t, client, "data")
		testkit.Expect(t, server, "data")
		client.Reset()
		expectEnd(t, server, "", syscall.ECONNRESET)
		<-k.Done()
	})
}

func TestResetPassesAfterHalfClose(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		client.CloseWrite()
		expectEnd(t, server, "", nil)
		client.Reset()
		time.Sleep(time.Second)
		_, err := server.Write([]byte("x"))
		wantErr(t, err, syscall.ECONNRESET)
	})
}

func TestDestinationGoneIsReset(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		server.Close()
		expectEnd(t, client, "", nil)
		testkit.Write(t, client, "into the void")
		time.Sleep(time.Second)
		_, err := client.Write([]byte("x"))
		wantErr(t, err, syscall.ECONNRESET)
	})
}

// What each fault of a kind looks like from both ends. The client sends "ab\n",
// "cd\n", "ef\n"; the server has sent "hello" before.
func TestEnds(t *testing.T) {
	reset := syscall.ECONNRESET
	for _, tt := range []struct {
		plan           string
		server         string
		serverEnd      error
		clientEnd      error
		silentToClient bool
	}{
		{plan: "end c2s byte 4", server: "ab\nc", silentToClient: true},
		{plan: "truncate c2s byte 4", server: "ab\nc", silentToClient: true},
		{plan: "cut c2s byte 4", server: "ab\nc"},
		{plan: "cut c2s msg 2", server: "ab\ncd\n"},
		{plan: "reset c2s byte 4", server: "ab\nc", serverEnd: reset, clientEnd: reset},
		{plan: "reset c2s msg 1 off 2", server: "ab\ncd", serverEnd: reset, clientEnd: reset},
		{plan: "halfopen c2s msg 1", server: "ab\n", serverEnd: reset, silentToClient: true},
	} {
		t.Run(tt.plan, func(t *testing.T) {
			onLink(t, tt.plan, func(t *testing.T, client, server *Conn, k *Link) {
				testkit.Write(t, server, "hello")
				testkit.Expect(t, client, "hello")
				testkit.Write(t, client, "ab\ncd\nef\n")
				expectEnd(t, server, tt.server, tt.serverEnd)
				if tt.silentToClient {
					silent(t, client)
					testkit.Write(t, client, "nobody hears this")
				} else {
					expectEnd(t, client, "", tt.clientEnd)
				}
				if fired := k.Fired(); len(fired) != 1 || fired[0].String() != tt.plan {
					t.Errorf("fired %v", fired)
				}
			})
		})
	}
}

// After End the other direction lives.
func TestEndIsOneDirection(t *testing.T) {
	onLink(t, "end c2s byte 0", func(t *testing.T, client, server *Conn, k *Link) {
		expectEnd(t, server, "", nil)
		testkit.Write(t, server, "still here")
		testkit.Expect(t, client, "still here")
	})
}

func TestHalfOpenIsNeverTold(t *testing.T) {
	onLink(t, "halfopen s2c byte 0", func(t *testing.T, client, server *Conn, k *Link) {
		expectEnd(t, client, "", syscall.ECONNRESET)
		server.Write(make([]byte, 4<<20)) // swallowed
		server.CloseWrite()
		silent(t, server)
		k.Close()
		expectEnd(t, server, "", syscall.ECONNRESET)
	})
}

func TestBlackHoleOfPlan(t *testing.T) {
	onLink(t, "blackhole c2s byte 3 for 1h", func(t *testing.T, client, server *Conn, k *Link) {
		start := time.Now()
		testkit.Write(t, client, "abcdef")
		client.CloseWrite()
		testkit.Expect(t, server, "abc")
		testkit.Write(t, server, "the other way is open")
		testkit.Expect(t, client, "the other way is open")
		expectEnd(t, server, "def", nil)
		if d := time.Since(start); d != time.Hour {
			t.Errorf("the hole lasted %v", d)
		}
	})
}

func TestBlackHoleHasBackPressure(t *testing.T) {
	onLink(t, "blackhole c2s byte 0", func(t *testing.T, client, server *Conn, k *Link) {
		client.SetWriteDeadline(time.Now().Add(time.Hour))
		n, err := client.Write(make([]byte, 10<<20))
		if wantTimeout(t, err); n > 1<<20 {
			t.Errorf("the hole took %d bytes", n)
		}
		client.Reset()
		silent(t, server)
		testkit.Write(t, server, "to one who is gone")
		silent(t, server) // the RST that answers is lost too
	})
}

func TestBlackHoleByHand(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		k.BlackHole(true, ClientToServer)
		testkit.Write(t, client, "kept")
		silent(t, server)
		testkit.Write(t, server, "passes")
		testkit.Expect(t, client, "passes")
		k.BlackHole(true)
		testkit.Write(t, server, "kept too")
		client.Close()
		silent(t, server)
		k.BlackHole(false)
		testkit.Expect(t, server, "kept")
	})
}

func TestCutAndResetByHand(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		k.BlackHole(true)
		testkit.Write(t, client, "lost")
		time.Sleep(time.Second)
		k.Cut()
		testkit.Write(t, client, "swallowed")
		expectEnd(t, client, "", nil)
		expectEnd(t, server, "", nil)
		k.Reset()
		time.Sleep(time.Second)
		_, err := client.Write([]byte("x"))
		wantErr(t, err, syscall.ECONNRESET)
		<-k.Done()
	})
}

// Cut frees a link whose receiver does not read.
func TestCutWhileFull(t *testing.T) {
	onLink(t, "", func(t *testing.T, client, server *Conn, k *Link) {
		client.SetWriteDeadline(time.Now().Add(time.Hour))
		client.Write(make([]byte, 10<<20))
		client.SetWriteDeadline(time.Time{})
		k.Cut()
		client.Write(make([]byte, 10<<20)) // swallowed
		expectEnd(t, client, "", nil)
		if got, err := io.ReadAll(server); err != nil || len(got) != pipeBuffer {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
}

func TestDelayPipelines(t *testing.T) {
	onLink(t, "delay c2s byte 0 for 1s", func(t *testing.T, client, server *Conn, k *Link) {
		start := time.Now()
		for range 100 {
			testkit.Write(t, client, "0123456789")
			time.Sleep(time.Millisecond)
		}
		client.CloseWrite()
		for i := range 100 {
			testkit.Expect(t, server, "0123456789")
			if d := time.Since(start); d != time.Second+time.Duration(i)*time.Millisecond {
				t.Fatalf("piece %d came after %v", i, d)
			}
		}
		expectEnd(t, server, "", nil)
		if d := time.Since(start); d != 1100*time.Millisecond {
			t.Errorf("the end came after %v", d)
		}
		start = time.Now()
		testkit.Write(t, server, "x")
		if testkit.Expect(t, client, "x"); time.Since(start) != 0 {
			t.Error("the other direction is delayed")
		}
	})
}

func TestOrderIsKeptWhenTheDelayShrinks(t *testing.T) {
	onLink(t, "delay c2s byte 0 for 1s; delay c2s byte 2 for 0s",
		func(t *testing.T, client, server *Conn, k *Link) {
			start := time.Now()
			testkit.Write(t, client, "abcd")
			testkit.Expect(t, server, "abcd")
			if d := time.Since(start); d != time.Second {
				t.Errorf("took %v", d)
			}
		})
}

// A long fat line: a rate and a delay together cost the sum, not the product.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, rate, delay = 4 << 20, 1 << 20, time.Second
		client, server, k := FaultyPipe(Config{Plan: Line(delay, rate)})
		defer k.Close()
		start := time.Now()
		go func() {
			client.Write(make([]byte, size))
			client.CloseWrite()
		}()
		half := make([]byte, size/2)
		io.ReadFull(server, half)
		within(t, time.Since(start), delay+size/2/rate*time.Second)
		n, err := io.Copy(io.Discard, server)
		if n != size/2 || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		within(t, time.Since(start), delay+size/rate*time.Second)
		client.Close()
		server.Close()
	})
}

// within wants d to be at most 1 % beside want.
func within(t *testing.T, d, want time.Duration) {
	t.Helper()
	if (d - want).Abs() > want/100 {
		t.Errorf("took %v, want %v", d, want)
	}
}

// A slow line trickles, and idle time gives no credit.
func TestBandwidthTrickles(t *testing.T) {
	onLink(t, "bandwidth c2s byte 0 rate 1000", func(t *testing.T, client, server *Conn, k *Link) {
		for range 2 {
			start := time.Now()
			testkit.Write(t, client, strings.Repeat("x", 100))
			for i := range 20 {
				testkit.Expect(t, server, "xxxxx")
				within(t, time.Since(start), time.Duration(i+1)*5*time.Millisecond)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestReorderGivesUp(t *testing.T) {
	for _, text := range []string{"reorder c2s msg 0 for 1s", "reorder c2s byte 0 len 3 for 1s"} {
		onLink(t, text, func(t *testing.T, client, server *Conn, k *Link) {
			start := time.Now()
			testkit.Write(t, client, "ab\n")
			testkit.Expect(t, server, "ab\n")
			if d := time.Since(start); d != time.Second || k.Fired() != nil {
				t.Errorf("%s: gave up after %v, fired %v", text, d, k.Fired())
			}
			time.Sleep(time.Hour)
			testkit.Write(t, client, "cd\nef\n")
			testkit.Expect(t, server, "cd\nef\n")
		})
		onLink(t, text, func(t *testing.T, client, server *Conn, k *Link) {
			testkit.Write(t, client, "ab\n")
			time.Sleep(time.Second / 2)
			testkit.Write(t, client, "cd\n")
			testkit.Expect(t, server, "cd\nab\n")
			time.Sleep(time.Hour)
			testkit.Write(t, client, "ef\n")
			testkit.Expect(t, server, "ef\n")
		})
	}
}

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen [2][]byte
		client, server, k := FaultyPipe(Config{
			Plan: Plan{{Kind: Cut, At: 2}},
			Tap:  func(d Direction, p []byte) { seen[d] = append(seen[d], p...) },
		})
		testkit.Write(t, client, "up!")
		testkit.Write(t, server, "down")
		time.Sleep(time.Second)
		client.Reset()
		server.Reset()
		<-k.Done()
		if string(seen[ClientToServer]) != "up!" || string(seen[ServerToClient]) != "down" {
			t.Errorf("saw %q", seen)
		}
	})
}

func TestBadConfigPanics(t *testing.T) {
	for _, cfg := range []Config{
		{Plan: Plan{{Kind: 99}}},
		{Plan: Plan{{Kind: Flip, Unit: Message}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v did not panic", cfg.Plan)
				}
			}()
			FaultyPipe(cfg)
		}()
	}
}

// Any plan that does not touch the bytes leaves a prefix of them and an end,
// or silence; and the same seed gives the same to the last byte.
func TestRandomPlans(t *testing.T) {
	harmless := []Kind{Delay, Bandwidth, BlackHole, End, Cut, Reset, HalfOpen}
	in := testkit.Pattern(32 << 10)
	for seed := range Seeds(t, 60) {
		p := RandomPlan(seed, RandomOptions{Kinds: harmless, Span: 40 << 10})
		var first []byte
		var firstErr error
		for round := range 2 {
			got, err := transfer(t, p, in)
			if !bytes.HasPrefix(in, got) || err == nil && len(got) < len(in) && !endsEarly(p) {
				t.Fatalf("seed %d, plan %q: %d bytes, %v", seed, p, len(got), err)
			}
			if round == 0 {
				first, firstErr = got, err
			} else if !bytes.Equal(got, first) || fmt.Sprint(err) != fmt.Sprint(firstErr) {
				t.Fatalf("seed %d, plan %q: %d bytes, %v; the first time %d, %v", seed, p, len(got),
					err, len(first), firstErr)
			}
		}
	}
}

func endsEarly(p Plan) bool {
	for _, f := range p {
		if f.Kind == End || f.Kind == Cut {
			return true
		}
	}
	return false
}

// transfer sends in up a link, and returns what came out within a day.
func transfer(t *testing.T, p Plan, in []byte) (got []byte, err error) {
	synctest.Test(t, func(t *testing.T) {
		client, server, k := FaultyPipe(Config{Plan: p})
		go func() {
			client.Write(in)
			client.CloseWrite()
		}()
		server.SetReadDeadline(time.Now().Add(24 * time.Hour))
		got, err = io.ReadAll(server)
		k.Close()
		client.Close()
		server.Close()
	})
	return got, err
}
