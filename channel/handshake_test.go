package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/noise"
)

func TestAllSuites(t *testing.T) {
	names := []string{
		"Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256", "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
		"Noise_XX_25519_AESGCM_SHA256", "Noise_XX_25519_ChaChaPoly_SHA256",
		"Noise_XX_25519_AESGCM_SHA512", "Noise_XX_25519_ChaChaPoly_SHA512",
		"Noise_XX_25519_AESGCM_BLAKE2s", "Noise_XX_25519_ChaChaPoly_BLAKE2s",
		"Noise_XX_25519_AESGCM_BLAKE2b", "Noise_XX_25519_ChaChaPoly_BLAKE2b",
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			suites := []noise.Suite{suiteNamed(t, name)}
			both := func(a, b *Config) { a.Suites, b.Suites = suites, suites }
			inBubble(t, both, func(t *testing.T, l *lab) {
				if err := transfer(t, l.open(l.session()), pattern(5000), 1000); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A side accepts the suites it was told to, and an initiator falls back to nothing.
func TestSuiteNotAccepted(t *testing.T) {
	inBubble(t, func(a, b *Config) {
		a.Suites = []noise.Suite{suiteNamed(t, "Noise_XX_25519_AESGCM_SHA256"), DefaultSuites()[0]}
		b.Suites = DefaultSuites()
	}, func(t *testing.T, l *lab) {
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, io.ErrUnexpectedEOF)
		if l.dialed != 1 {
			t.Errorf("%d attempts, want 1", l.dialed)
		}
	})
}

func TestDefaultSuitesAreHybrid(t *testing.T) {
	for _, s := range DefaultSuites() {
		if got := s.String()[:11]; got != "Noise_XXhfs" {
			t.Errorf("%s", s)
		}
	}
}

func TestWrongName(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.accept = func(name string) error {
			if name != "db" {
				return fmt.Errorf("not %q", name)
			}
			return nil
		}
		_, err := l.initiator.Initiate(t.Context(), "web", trust.As{}, l.dial)
		wantErr(t, err, ErrWrongName)
		if errors.Is(err, trust.ErrNotTrusted) {
			t.Error("a wrong name is not a matter of trust")
		}
		s, err := l.initiator.Initiate(t.Context(), "db", trust.As{}, l.dial)
		if err != nil || s.keys.name != "db" {
			t.Errorf("%v", err)
		}
	})
}

func TestNameIsAskedForOnlyOfTrusted(t *testing.T) {
	stranger := testkit.NewIdentity(t)
	inBubble(t, func(a, _ *Config) { a.Identity = stranger }, func(t *testing.T, l *lab) {
		l.accept = func(string) error { t.Error("a stranger got to the name"); return nil }
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, ErrRefusedByPeer)
	})
}

func TestSessionsPerIdentity(t *testing.T) {
	inBubble(t, func(_, b *Config) { b.SessionsPerIdentity = 2 }, func(t *testing.T, l *lab) {
		first, second := l.session(), l.session()
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, ErrBusy)
		for _, s := range []*Session{first, second} {
			if _, err := s.Ping(t.Context()); err != nil {
				t.Errorf("an old session suffers: %v", err)
			}
		}
		_ = first.Close()
		l.waitServed(2)
		if _, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial); err != nil {
			t.Errorf("the place of a session that has ended: %v", err)
		}
	})
}

// waitServed waits, in a bubble, until n links have been served to their end.
func (l *lab) waitServed(n int) {
	l.t.Helper()
	for range 1000 {
		l.mu.Lock()
		got := len(l.served)
		l.mu.Unlock()
		if got >= n {
			return
		}
		time.Sleep(time.Second) // in a bubble
	}
	l.t.Fatalf("%d links are not served to their end", n)
}

// A handshake has one time limit, however its bytes trickle.
func TestSlowHandshake(t *testing.T) {
	for _, first := range []byte{helloHandshake, helloFlow} {
		inBubble(t, nil, func(t *testing.T, l *lab) {
			client, server := faultnet.Pipe()
			begin := time.Now()
			l.serve(server)
			l.tasks.Go(func() {
				for b := first; ; b = 60 {
					if _, err := client.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			_, err := io.Copy(io.Discard, client)
			if took := time.Since(begin); took > 6*time.Second {
				t.Errorf("held for %v, %v", took, err)
			}
			_ = client.Close()
			l.waitServed(1)
		})
	}
}

func TestResponderSilent(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		client, server := faultnet.Pipe()
		defer server.Close()
		begin := time.Now()
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, only(client))
		if took := time.Since(begin); err == nil || took != DefaultHandshakeTimeout {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestInitiateIsCancelled(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		client, server := faultnet.Pipe()
		defer server.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		_, err := l.initiator.Initiate(ctx, "", trust.As{}, only(client))
		wantErr(t, err, context.Cause(ctx))
	})
}

// A far end that takes message 2 slowly holds none of the slots for handshakes that compute.
func TestSlowReaderHoldsNoSlot(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		h := l.initiator.handshake(t, identity.Initiator)
		hello, err := appendFrame(appendHandshakeHello(nil, quickSuite(t)), h.writeBare)
		if err != nil {
			t.Fatal(err)
		}
		var clients []*faultnet.Conn
		for range 2*cap(l.responder.busy) + 1 {
			client, server := faultnet.PipeSize(16)
			clients = append(clients, client)
			l.serve(server)
			go client.Write(hello)
		}
		begin := time.Now()
		time.Sleep(time.Millisecond)
		l.session()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("a handshake waited for %v", took)
		}
		for _, c := range clients {
			_ = c.Close()
		}
	})
}

func TestMessage1WithPayload(t *testing.T) {
	l := newLab(t, nil)
	defer l.close()
	h := l.initiator.handshake(t, identity.Initiator)
	payload := func([]byte) ([]byte, error) { return make([]byte, 5000), nil }
	message, err := h.noise.WriteMessage(nil, payload)
	if err != nil {
		t.Fatal(err)
	}
	r := l.responder.handshake(t, identity.Responder)
	wantErr(t, r.readBare(message), ErrProtocol)
}

// What a link holds before its far end has proved anything: one buffer of 16.5 KiB.
func TestMemoryBeforeAuthentication(t *testing.T) {
	for name, hello := range map[string][]byte{
		"handshake": append(appendHandshakeHello(nil, quickSuite(t)), 0x20, 0x00),
		"flow":      append(make([]byte, flowHelloSize-1), 0xff, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			client, server := faultnet.Pipe()
			defer client.Close()
			go func() {
				_, _ = client.Write(append(hello[:len(hello):len(hello)], make([]byte, 60<<10)...))
				_ = client.CloseWrite()
			}()
			l := newLink(server)
			if name == "handshake" {
				if _, err := l.need(2 + int(hello[1])); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if _, err := l.frame(); err != nil {
						t.Fatal(err)
					}
				}
			} else {
				if _, err := l.need(flowHelloSize - 1); err != nil {
					t.Fatal(err)
				}
				if _, err := l.in.record(maxFirstBody); err == nil {
					t.Error("a first record of 64 KiB is waited for")
				}
			}
			if most := 16<<10 + 512; len(l.in.buffer.Bytes) > most {
				t.Errorf("%d bytes are held, want %d at most", len(l.in.buffer.Bytes), most)
			}
			l.in.drop()
		})
	}
}
