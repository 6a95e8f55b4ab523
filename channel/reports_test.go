package channel

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
)

// taking is an end of a link that always takes a short record.
type taking struct{ *faultnet.Conn }

func (taking) TakesMore() bool { return true }

// dialTaking makes links of such ends.
func (l *lab) dialTaking(context.Context) (Conn, error) {
	client, server := l.pipe()
	l.serve(taking{server})
	return taking{client}, nil
}

// What is much is acknowledged before its time: by whoever reads if that need not wait, and
// otherwise all the same. What is little waits.
func TestAcknowledgeMuch(t *testing.T) {
	for name, direct := range map[string]bool{"by the reader": true, "by the session": false} {
		t.Run(name, func(t *testing.T) {
			inSurvivingBubble(t, func(t *testing.T, p *peer) {
				dial := p.dial
				if direct {
					dial = p.dialTaking
				}
				acknowledgeMuch(t, p, p.sessionBy(dial), p.accepted(), direct)
			})
		})
	}
}

func acknowledgeMuch(
	t *testing.T, p *peer, s *Session, flows chan *acceptedFlow, direct bool,
) {
	t.Helper()
	const pieces, size = 5, ackMost / 2
	data := strings.Repeat("x", size)
	var there *Session
	began := time.Now()
	for _, count := range []int{1, 3} { // of flows, which are acknowledged together
		var near []*Flow
		for range count {
			f, far := p.both(s, flows)
			defer far.release()
			go func() { _, _ = far.WriteTo(io.Discard) }()
			near = append(near, f)
			defer func() { _ = f.Close() }()
			there = far.Session()
		}
		for range pieces {
			for _, f := range near {
				write(t, f, data)
				synctest.Wait()
			}
			var held int64
			for _, f := range near {
				held += f.lasting.kept.spare()
			}
			if held > 2*ackMost { // for a buffer may be half empty
				t.Fatalf("%d flows: %d bytes are kept", count, held)
			}
		}
	}
	few, far := p.both(s, flows)
	defer far.release()
	go func() { _, _ = far.WriteTo(io.Discard) }()
	write(t, few, data[:ackBytes-100])
	synctest.Wait()
	if few.lasting.kept.isDone() {
		t.Error("what is little has been acknowledged before its time")
	}
	if took := time.Since(began); took >= ackDelay {
		t.Fatalf("it took %v", took)
	}
	time.Sleep(2 * ackDelay)
	if !few.lasting.kept.isDone() {
		t.Error("what is little has not been acknowledged")
	}
	_ = few.Close()
	if said := cap(there.reports.telling.flows) > 0; said != direct {
		t.Errorf("whoever reads has acknowledged something: %v", said)
	}
}
