package portal_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/portal/udp"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// A service that speaks UDP, and a client of it on another machine. The outlet's node offers the
// service under the name that services of datagrams have; the inlet makes a flow of each client
// that sends to its address, and asks for that service.
func ExampleInlet_datagrams() {
	here, there := newOptions(), newOptions()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	service, stop := answerDatagrams()
	defer stop()

	outlet := &portal.Outlet{Target: service}
	n, at, stopOutlet := serveNode(route.Config{
		Channel: channel.Config{Identity: there.Identity, Trust: trusting(there, here)},
		Logger:  there.Logger,
	})
	defer stopOutlet()
	n.Handle(route.DatagramsPrefix+route.OutletName, outlet.Serve)

	dialer, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: here.Identity, Trust: trusting(here, there)},
		Logger:  here.Logger,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	l, err := udp.Listen(ctx, mustUDP("udp://127.0.0.1:0"), udp.Config{Idle: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	to := route.ToDatagrams(route.ToOutlet(at))
	inlet := &portal.Inlet{
		Open: func(ctx context.Context, client []byte) (*route.Stream, error) {
			return dialer.Open(ctx, to, route.Lazy)
		},
		Logger: here.Logger,
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		inlet.Serve(ctx, ctx, l)
	}()

	c, err := net.Dial("udp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	b := make([]byte, 100)
	size, err := c.Read(b)
	fmt.Println(string(b[:size]), err)
	_ = l.Close()
	<-served
	// Output: you said "hello" <nil>
}

func mustUDP(text string) transport.Address {
	a, err := transport.ParseUDP(text, "")
	if err != nil {
		log.Fatal(err)
	}
	return a
}

// answerDatagrams is a service, which answers each datagram until stop is called.
func answerDatagrams() (at transport.Address, stop func()) {
	s, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 100)
		for {
			n, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = s.WriteTo(fmt.Appendf(nil, "you said %q", b[:n]), from)
		}
	}()
	return mustUDP("udp://" + s.LocalAddr().String()), func() {
		_ = s.Close()
		<-ended
	}
}
