package portal_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/portal"
)

// Two machines with an identity each, which trust one another: one listens, the other one dials. In practice the
// identities come from key files, and the Identifiers and the route are told by other means.
func Example() {
	here, there := newOptions(), newOptions()
	here.Trust = trusting(here, there)
	there.Trust = trusting(there, here)

	l, err := portal.Listen("127.0.0.1:0", there)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		question, _ := io.ReadAll(c)
		fmt.Fprintf(c, "you said %q", question)
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := portal.Dial(ctx, l.Route(), here)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	answer, err := io.ReadAll(c)
	fmt.Println(string(answer), err)
	// Output: you said "hello" <nil>
}

func newOptions() portal.Options {
	id, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		log.Fatal(err)
	}
	return portal.Options{Identity: id}
}

// trusting is who trusts whom, and nobody else.
func trusting(who, whom portal.Options) *trust.Policy {
	p, err := trust.NewPolicy(trust.Config{
		Self:  who.Identity.Identifier(),
		Allow: []identity.Identifier{whom.Identity.Identifier()},
	})
	if err != nil {
		log.Fatal(err)
	}
	return p
}
