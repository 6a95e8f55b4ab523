package mux

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/internal/faultnet"
)

// TestYamux speaks with yamux's own implementation, as either side.
func TestYamux(t *testing.T) {
	for name, opens := range map[string]bool{"opener": true, "acceptor": false} {
		t.Run(name, func(t *testing.T) {
			here, there := faultnet.Pipe()
			config := yamux.DefaultConfig()
			config.LogOutput = io.Discard
			ours, their := maker(NewOpener), yamux.Server
			if !opens {
				ours, their = NewAcceptor, yamux.Client
			}
			m := side(t, here, ours, Config{})
			s, err := their(there, config)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var tasks sync.WaitGroup
			defer tasks.Wait()
			for i := range 8 {
				near, far := yamuxLink(t, m, s, opens)
				up, down := content(uint64(i), 3<<20), content(uint64(i)+50, 2<<20)
				tasks.Go(func() {
					_, _ = near.Write(up)
					_ = near.CloseWrite()
				})
				tasks.Go(func() {
					_, _ = far.Write(down)
					_ = far.Close() // yamux's half-close
				})
				tasks.Go(func() { expectAll(t, near, down) })
				tasks.Go(func() { expectAll(t, far, up) })
			}
			if _, err := s.Ping(); err != nil {
				t.Error(err)
			}
		})
	}
}

func yamuxLink(t *testing.T, m *Mux, s *yamux.Session, opens bool) (*Link, *yamux.Stream) {
	t.Helper()
	var near *Link
	var far *yamux.Stream
	var err, other error
	if opens {
		near, err = m.Open()
		far, other = s.AcceptStream()
	} else {
		far, other = s.OpenStream()
		near, err = m.Accept()
	}
	if err != nil || other != nil {
		t.Fatal(err, other)
	}
	return near, far
}

func expectAll(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	if got, err := io.ReadAll(r); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
	}
}
