package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

var damages = []faultnet.Kind{
	faultnet.Flip, faultnet.Drop, faultnet.Duplicate, faultnet.Reorder, faultnet.Truncate,
}

var directions = []faultnet.Direction{faultnet.ClientToServer, faultnet.ServerToClient}

// manyRecords is how many data records a flow has each way in the tests of damage.
const manyRecords = 64

// outcome is how one direction of a flow looked to its receiver.
type outcome struct {
	got []byte
	err error // nil for a clean end
}

// check fails unless what was received is what was sent, or the beginning of that and an error.
func (o outcome) check(t *testing.T, where string, sent []byte) {
	t.Helper()
	switch {
	case !bytes.HasPrefix(sent, o.got):
		t.Errorf("%s: wrong bytes", where)
	case o.err == nil && len(o.got) != len(sent):
		t.Errorf("%s: clean end after %d of %d bytes", where, len(o.got), len(sent))
	case errors.Is(o.err, io.EOF):
		t.Errorf("%s: an error that is io.EOF: %v", where, o.err)
	}
}

// converse sends data over both directions of a flow, in small records, while both ends read. It
// ends when both have.
func (l *lab) converse(s *Session, data []byte, piece int) (atServer, atClient outcome) {
	served := make(chan outcome, 1)
	run := func(f *Flow) outcome {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for rest := data; len(rest) > 0; {
				n, err := f.Write(rest[:min(piece, len(rest))])
				if rest = rest[n:]; err != nil {
					return
				}
			}
			_ = f.CloseWrite()
		}()
		_ = f.SetReadDeadline(time.Now().Add(time.Minute))
		got, err := io.ReadAll(f)
		if err != nil {
			_ = f.Close()
		}
		<-sent
		return outcome{got, err}
	}
	l.handle = func(_ context.Context, f *Flow) { served <- run(f) }
	f := l.open(s)
	atClient = run(f)
	_ = f.Close()
	select {
	case atServer = <-served:
	case <-time.After(2 * time.Minute): // in a bubble
		atServer = outcome{nil, ErrUnknownSession} // the flow never came to be
	}
	return atServer, atClient
}

// closeIdle closes the links that wait for a flow.
func closeIdle(s *Session) {
	for {
		link, err := s.pool.take()
		if link == nil || err != nil {
			return
		}
		_ = link.Close()
	}
}

// sessionWith makes a session whose flows' links go by *plan, as it is when they are made.
func (l *lab) sessionWith(plan *faultnet.Plan) *Session {
	l.plan = func(link int) faultnet.Plan {
		if link == 0 {
			return nil
		}
		return *plan
	}
	return l.session()
}

// A man in the middle changes, drops, repeats, swaps and cuts each message of a flow: nobody reads
// a wrong byte, nobody sees an end that was not sent, and the session goes on.
func TestManInTheMiddleOfAFlow(t *testing.T) {
	for _, kind := range damages {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(t *testing.T, l *lab) {
				var plan faultnet.Plan
				s := l.sessionWith(&plan)
				data := pattern(manyRecords * 10)
				for _, dir := range directions {
					last := int64(manyRecords)
					if dir == faultnet.ClientToServer {
						last++ // the hello
					}
					for at := range last + 1 {
						plan = faultnet.Plan{{
							Kind: kind, Dir: dir, Unit: faultnet.Message, At: at, Off: at % 29,
						}}
						if kind == faultnet.Reorder {
							plan[0].For = time.Second
						}
						closeIdle(s) // what comes is to be on a link with the plan
						before := l.made()
						atServer, atClient := l.converse(s, data, 10)
						var fired []faultnet.Fault
						synctest.Wait()
						for _, link := range l.linksFrom(before) { // the flow may be sent again
							fired = append(fired, link.Fired()...)
							_ = link.Close()
						}
						where := plan.String()
						atServer.check(t, where+", server", data)
						atClient.check(t, where+", client", data)
						if len(fired) == 0 && kind != faultnet.Reorder {
							t.Errorf("%s: did not happen, and the ends saw %v and %v", where,
								atServer.err, atClient.err)
						}
						again := kind == faultnet.Duplicate || kind == faultnet.Reorder
						harmless := at == last && again
						if atServer.err == nil && atClient.err == nil && !harmless {
							t.Errorf("%s: nobody noticed", where)
						}
					}
				}
				if err := s.Err(); err != nil {
					t.Errorf("the session suffers: %v", err)
				}
			})
		})
	}
}

// The same on the control link: no session, or one that ends; never one that goes wrong.
func TestManInTheMiddleOfTheHandshake(t *testing.T) {
	suites := map[string]func(a, b *Config){
		"XX":    nil,
		"XXhfs": func(a, b *Config) { a.Suites, b.Suites = nil, nil },
	}
	for name, change := range suites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range damages {
				if change != nil && kind != faultnet.Flip {
					continue // it costs more, and differs in what is in the messages only
				}
				for _, dir := range directions {
					for at := range int64(6) {
						plan := faultnet.Plan{{
							Kind: kind, Dir: dir, Unit: faultnet.Message, At: at, Off: 7 * at,
						}}
						inBubble(t, change, func(t *testing.T, l *lab) {
							l.plan = func(link int) faultnet.Plan {
								if link == 0 {
									return plan
								}
								return nil
							}
							s, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
							if err != nil {
								wantNoEOF(t, err)
								return
							}
							select {
							case <-s.Done():
							case <-time.After(2 * time.Minute):
								t.Errorf("%s: nobody noticed", plan)
							}
							wantNoEOF(t, s.Err())
						})
					}
				}
			}
		})
	}
}

// Each bit of the handshake counts.
func TestEveryHandshakeByte(t *testing.T) {
	for _, dir := range directions {
		at := int64(0)
		for done := false; !done; at += 7 {
			inBubble(t, nil, func(t *testing.T, l *lab) {
				plan := faultnet.Plan{{
					Kind: faultnet.Flip, Dir: dir, Unit: faultnet.Byte, At: at, Mask: 1 << (at % 8),
				}}
				l.plan = func(int) faultnet.Plan { return plan }
				s, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
				if done = len(l.lastLink().Fired()) == 0; done || err != nil {
					return
				}
				// Message 3 may be damaged when the initiator has sent all that it has to say.
				<-s.Done()
			})
		}
		if at < 200 {
			t.Errorf("%s: only %d bytes", dir, at)
		}
	}
}

// A link that ends after any byte is an error at both ends.
func TestCutAtEveryByte(t *testing.T) {
	data := pattern(20)
	whole := int64(len(data) + 2*overhead) // a record of data, and the end
	for _, kind := range []faultnet.Kind{
		faultnet.Cut, faultnet.End, faultnet.Reset, faultnet.HalfOpen,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(t *testing.T, l *lab) {
				var plan faultnet.Plan
				s := l.sessionWith(&plan)
				for _, dir := range directions {
					size := whole
					if dir == faultnet.ClientToServer {
						size += int64(flowHelloSize)
					}
					for at := range size {
						plan = faultnet.Plan{{Kind: kind, Dir: dir, Unit: faultnet.Byte, At: at}}
						atServer, atClient := l.converse(s, data, 20)
						_ = l.lastLink().Close()
						atServer.check(t, plan.String()+", server", data)
						atClient.check(t, plan.String()+", client", data)
						cut := atServer
						if dir == faultnet.ServerToClient {
							cut = atClient
						}
						if cut.err == nil {
							t.Errorf("%s: a clean end", plan)
						}
					}
				}
			})
		})
	}
}

// recorder keeps what clients sent on each link.
type recorder struct {
	mu    sync.Mutex
	bytes map[int][]byte
}

func (r *recorder) tap(link int, d faultnet.Direction, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d == faultnet.ClientToServer {
		r.bytes[link] = append(r.bytes[link], p...)
	}
}

func (r *recorder) of(link int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.bytes[link])
}

// play sends b to the responder on a new link and returns how that ended. The responder must not
// answer.
func (l *lab) play(b []byte) error {
	l.t.Helper()
	before := l.ended()
	client, server := faultnet.PipeSize(len(b) + 1)
	l.serve(server)
	_, _ = client.Write(b)
	_ = client.CloseWrite()
	if got, _ := io.ReadAll(client); len(got) != 0 {
		l.t.Errorf("the responder said %d bytes", len(got))
	}
	_ = client.Close()
	l.waitServed(len(before) + 1)
	return l.ended()[len(before)]
}

// A recording of a link, played again on a new one, gets not one byte out of the responder.
func TestReplay(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		r := &recorder{bytes: make(map[int][]byte)}
		l.tap = r.tap
		s := l.session()
		if err := transfer(t, l.open(s), pattern(5000), 1000); err != nil {
			t.Fatal(err)
		}
		l.tap = nil
		handled := false
		l.handle = func(context.Context, *Flow) { handled = true }
		play := l.play
		flow := r.of(1)
		wantErr(t, play(flow), ErrReplayed)
		wantErr(t, play(flow[:flowHelloSize+1000+overhead]), ErrReplayed)
		wantErr(t, play(flow[:flowHelloSize]), ErrCut)

		other := bytes.Clone(flow)
		other[flowHelloSize-1] ^= 4 // another number
		wantErr(t, play(other), ErrForged)
		other = bytes.Clone(flow)
		other[1] ^= 1 // another session
		wantErr(t, play(other), ErrUnknownSession)
		large := append(bytes.Clone(flow[:flowHelloSize]), 0xff, 0xff)
		wantErr(t, play(append(large, make([]byte, 1<<16)...)), ErrForged)
		for _, c := range []struct {
			what         string
			b            []byte
			known, whole bool
		}{
			{"a whole first record", flow[:flowHelloSize+1000+overhead], true, true},
			{"most of it", flow[:flowHelloSize+1000+overhead-1], true, false},
			{"none of it", flow[:flowHelloSize+1], true, false},
			{"part of a hello", flow[:flowHelloSize-1], false, false},
			{"another session's", other, false, false},
			{"one that is too large", large, true, true},
		} {
			if known, whole := l.responder.KnowsFlow(c.b); known != c.known || whole != c.whole {
				t.Errorf("%s: known %v, whole %v", c.what, known, whole)
			}
		}
		if handled {
			t.Error("a handler was called")
		}
		_ = s.Close()
		time.Sleep(time.Second) // and both ends know
		wantErr(t, play(flow), ErrUnknownSession)

		before := l.ended() // the handshake: message 2 is new, and message 3 does not fit it
		client, server := faultnet.Pipe()
		l.serve(server)
		_, _ = client.Write(r.of(0))
		_ = client.CloseWrite()
		_, _ = io.Copy(io.Discard, client)
		_ = client.Close()
		l.waitServed(len(before) + 1)
		if err := l.ended()[len(before)]; err == nil || errors.Is(err, ErrCut) {
			t.Errorf("a replayed handshake: %v", err)
		}
	})
}

// A flow number is accepted once, even when it comes twice at the same time.
func TestSameNumberTwice(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		send, _ := s.keys.current.keys(s.role, 7)
		b := appendFlowHello(nil, s.keys.current.id, 7)
		b = append(b, sealed(t, &send, typeData, []byte("once"))...)
		const links = 20
		for range links {
			client, server := faultnet.Pipe()
			l.serve(server)
			defer client.Close()
			write(t, client, string(b))
		}
		l.waitServed(links - 1)
		for _, err := range l.ended() {
			wantErr(t, err, ErrReplayed)
		}
		a := <-flows
		expect(t, a, "once")
		a.release()
	})
}

// Flow 0 is the control link's.
func TestFlowZeroIsRefused(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.handle = func(context.Context, *Flow) { t.Error("a handler was called") }
		s := l.session()
		send, _ := s.keys.current.keys(s.role, 0)
		b := append(appendFlowHello(nil, s.keys.current.id, 0), sealed(t, &send, typeData, nil)...)
		wantErr(t, l.play(b), ErrReplayed)
	})
}

// What two flows say cannot be exchanged, nor what the two directions of one say.
func TestFlowsAreNotExchangeable(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		s := l.session()
		f, a := l.both(s, flows)
		g, b := l.both(s, flows)
		defer a.release()
		defer b.release()
		linkOf(f).Conn, linkOf(g).Conn = linkOf(g).Conn, linkOf(f).Conn
		write(t, f, "for a")
		_, err := b.Read(make([]byte, 10))
		wantErr(t, err, ErrForged)
		if errors.Is(err, io.EOF) {
			t.Error("EOF")
		}
		h, c := l.both(s, flows)
		defer c.release()
		write(t, h, "echo of this")
		expect(t, c, "echo of this")
		_, _ = linkOf(c.Flow).Write(sealedAgain(t, s, "echo of this"))
		_, err = h.Read(make([]byte, 10))
		wantErr(t, err, ErrForged)
	})
}

// sealedAgain returns the second record that the initiator of the latest flow has sent.
func sealedAgain(t *testing.T, s *Session, data string) []byte {
	send, _ := s.keys.current.keys(s.role, s.keys.current.flows)
	_ = sealed(t, &send, typeData, nil)
	return sealed(t, &send, typeData, []byte(data))
}

// Any schedule of faults: what arrives is right and in order, and each direction ends in exactly
// one of a clean end that was sent, and an error.
func TestRandomFaults(t *testing.T) {
	rounds := testenv.OfRun(8, 25, 25)
	if testing.Short() {
		rounds = 5
	}
	for seed := range faultnet.Seeds(t, rounds) {
		renewing := func(a, _ *Config) { a.RenewAfter = 5 * time.Second }
		inBubble(t, renewing, func(t *testing.T, l *lab) {
			l.plan = func(link int) faultnet.Plan {
				if link == 0 && seed%4 != 0 {
					return nil
				}
				o := faultnet.RandomOptions{Span: 20_000, MaxLen: 200}
				if seed%2 == 0 {
					o = faultnet.RandomOptions{Span: 40, Unit: faultnet.Message}
				}
				return faultnet.RandomPlan(seed+uint64(link), o)
			}
			s, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
			if err != nil {
				wantNoEOF(t, err)
				return
			}
			for i := range 6 {
				data := pattern(int(seed >> i & 0x7fff))
				if s.Err() != nil {
					wantNoEOF(t, s.Err())
					return
				}
				atServer, atClient := l.converse(s, data, 1+int(seed>>i&0xfff))
				where := fmt.Sprintf("flow %d", i)
				atServer.check(t, where+", server", data)
				atClient.check(t, where+", client", data)
			}
		})
	}
}
