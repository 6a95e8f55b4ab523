package mux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

func frame(kind byte, flags uint16, stream, length uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, length)
}

// Pings are counted wherever reads cut the frames, and not those in data.
func TestPingLimit(t *testing.T) {
	ping, data := frame(typePing, flagSYN, 0, 7), frame(typeData, 0, 1, 24)
	data = append(data, ping...)
	data = append(data, ping...)
	for step := 1; step < 40; step++ {
		synctest.Test(t, func(t *testing.T) {
			near, far := faultnet.Pipe()
			defer near.Close()
			defer far.Close()
			exceeded := 0
			l := &pingLimit{Reader: near, exceeded: func() { exceeded++ }}
			read := func(b []byte) (err error) {
				_, _ = far.Write(b)
				for got := 0; got < len(b) && err == nil; {
					var n int
					n, err = l.Read(make([]byte, min(step, len(b)-got)))
					got += n
				}
				return err
			}
			for range 100 {
				if err := read(data); err != nil {
					t.Fatalf("data, %d at a time: %v", step, err)
				}
			}
			for range 3 { // and again after a while
				if err := read(bytes.Repeat(ping, pingsAtOnce)); err != nil {
					t.Fatalf("pings, %d at a time: %v", step, err)
				}
				time.Sleep(time.Second)
			}
			if exceeded > 0 {
				t.Errorf("not too many pings, %d at a time, are too many", step)
			}
			if err := read(bytes.Repeat(ping, pingsAtOnce+1)); err != errPings || exceeded != 1 {
				t.Errorf("too many pings, %d at a time: %v", step, err)
			}
		})
	}
}

// aMux returns the two sides of a mux, of which the acceptor is yamux itself. The bubble ends with
// it.
func aMux(t *testing.T, most int32) (client *Mux, server *yamux.Session) {
	t.Helper()
	here, there := faultnet.Pipe()
	var tasks sync.WaitGroup
	run := func(f func()) bool {
		tasks.Go(f)
		return true
	}
	client, err := NewOpener(here, Config{Run: run, MaxUnended: most})
	if err != nil {
		t.Fatal(err)
	}
	if server, err = yamux.Server(there, yamuxConfig()); err != nil {
		t.Fatal(err)
	}
	tasks.Go(client.Watch)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		tasks.Wait()
	})
	return client, server
}

// expectMuxEnd fails the test unless m has ended for a reason, or is open.
func expectMuxEnd(t *testing.T, m *Mux, ended bool, reason error) {
	t.Helper()
	if !ended {
		reason = nil
	}
	if m.session.IsClosed() != ended || m.Err() != reason {
		t.Errorf("the mux is closed: %v, %v; want %v, %v", m.session.IsClosed(), m.Err(), ended, reason)
	}
}

// A mux ends whose other side sends more pings than anybody needs.
func TestPingsInMux(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		client, server := aMux(t, 0)
		for range pingsAtOnce {
			_, _ = server.Ping()
		}
		synctest.Wait()
		expectMuxEnd(t, client, false, nil)
		_, _ = server.Ping()
		synctest.Wait()
		expectMuxEnd(t, client, true, errPings)
	})
}

// A mux ends whose other side leaves more links open than it may that this one has closed.
func TestUnendedLinks(t *testing.T) {
	const most = 5
	for _, unended := range []int{most, most + 1} {
		testkit.Bubble(t, func(t *testing.T) {
			client, server := aMux(t, most)
			for range unended {
				l, err := client.Open()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := server.AcceptStream(); err != nil {
					t.Fatal(err)
				}
				_ = l.Close()
			}
			time.Sleep(3 * unendedFor)
			expectMuxEnd(t, client, unended > most, errUnended)
		})
	}
}

// What comes on a closed link is thrown away, however much, and whoever read from it is told.
func TestClosedMuxLink(t *testing.T) {
	testkit.Bubble(t, func(t *testing.T) {
		client, server := aMux(t, 1)
		l, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		far, err := server.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := l.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		_ = l.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("who read gets %v", err)
		}
		if n, err := far.Write(make([]byte, 10<<20)); err != nil {
			t.Errorf("%d bytes of 10 MiB were taken: %v", n, err)
		}
		if _, err := l.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("who reads gets %v", err)
		}
		_ = far.Close()
	})
}

// A mux ends in which nothing is taken, and not one that waits for nothing.
func TestUntakenLinks(t *testing.T) {
	for name, opens := range map[string]int{"idle": 1, "jammed": backlog + 1} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, func(t *testing.T) {
				client, _ := aMux(t, 0)
				for range opens {
					go func() {
						if l, err := client.Open(); err == nil {
							_ = l.Close()
						}
					}()
				}
				time.Sleep(3 * untakenAfter)
				expectMuxEnd(t, client, opens > backlog, errUntaken)
			})
		})
	}
}
