package faultnet_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/secureportal/sp/internal/faultnet"
)

// A man in the middle between two processes swaps the second message towards
// the server with the third.
func ExampleProxy() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	plan, err := faultnet.ParsePlan("reorder c2s msg 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	proxy, err := faultnet.Proxy(context.Background(), "127.0.0.1:0", server.Addr().String(),
		faultnet.ProxyConfig{
			Plan:  func(conn int) faultnet.Plan { return plan },
			Split: func(faultnet.Direction) faultnet.Splitter { return faultnet.Lines },
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer proxy.Close()

	client, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		fmt.Println(err)
		return
	}
	io.WriteString(client, "one\ntwo\nthree\n")
	client.(*net.TCPConn).CloseWrite()
	conn, err := server.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := io.ReadAll(conn)
	fmt.Printf("%q %v\n", got, err)
	for _, e := range proxy.Fired() {
		fmt.Println("connection", e.Conn, e.Fault)
	}
	conn.Close()
	client.Close()
	// Output:
	// "one\nthree\ntwo\n" <nil>
	// connection 0 reorder c2s msg 1
}

// In process, with a plan from a seed.
func ExampleFaultyPipe() {
	plan := faultnet.RandomPlan(7, faultnet.RandomOptions{
		Kinds: []faultnet.Kind{faultnet.Cut, faultnet.Reset}, Faults: 1, Span: 10,
	})
	client, server, link := faultnet.FaultyPipe(faultnet.Config{Plan: plan})
	defer link.Close()
	go io.WriteString(client, "0123456789")
	io.Copy(io.Discard, server)
	fmt.Println(len(link.Fired()), "of", len(plan))
	// Output: 1 of 1
}
