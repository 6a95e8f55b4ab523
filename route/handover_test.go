package route

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// A link that is handed over lives on without its goroutine, and ends with the request that it is
// forwarded for; one in a channel cannot be.
func TestHandOver(t *testing.T) {
	w := newWorld(t)
	n, at := w.listening(t)
	parked, kept := make(chan Conn, 2), make(chan bool, 2)
	n.HandleOpen("park", func(_ context.Context, q *Request) error {
		if err := q.Accept().Flush(); err != nil {
			return err
		}
		handedOver := q.HandOver()
		kept <- !handedOver
		if handedOver {
			parked <- q.Conn()
		}
		return nil
	})
	n.HandleOpen("use", func(_ context.Context, q *Request) error { return q.Forward(<-parked) })
	near := w.node(t)
	open := func(r ...wire.Address) *Stream {
		s, err := near.OpenAndAwait(testkit.Context(t), append(Route{at}, r...), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Hurry(t, s)
		return s
	}
	standby := open(svc("park"))
	if testkit.Within(t, kept, "parking") {
		t.Fatal("a link is not handed over")
	}
	time.Sleep(10 * time.Millisecond) // in which the goroutine that served it ends
	asker, err := near.Open(testkit.Context(t), Route{at, svc("use"), svc("beyond")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	testkit.Hurry(t, asker)
	testkit.Write(t, asker, "question")
	q, err := near.ReadRequest(standby)
	if err != nil || len(q.Message.Onward) != 1 || q.Message.Onward[0] != svc("beyond") {
		t.Fatalf("what comes on the link is %+v, %v", q.Message, err)
	}
	s := q.Accept()
	testkit.Expect(t, s, "question")
	testkit.Write(t, s, "answer")
	testkit.Expect(t, asker, "answer")
	_ = asker.CloseWrite()
	testkit.ExpectEnd(t, s)
	_ = s.Close()
	if _, err := io.ReadAll(asker); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, "all links are closed", func() bool {
		links, _ := LinkCounts(n)
		return links == 0
	})
	defer open(secure(), svc("park")).Close()
	if !testkit.Within(t, kept, "parking in a channel") {
		t.Error("a flow is handed over")
	}
}
