//go:build unix

package test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/homes"
)

// holdersVariable has this test binary be people who hold names, whom its value describes.
const holdersVariable = "SP_TEST_HOLDERS"

// holders are people, each with an identity of his own, who hold a name each on a set of relays, as
// outlets do. One process of them is no more than its descriptors allow for.
type holders struct {
	First, Number int
	Relays        []string // each is told of one of these, in turn
}

// holdersEach is how many are one process: each has two descriptors on each of two relays, or of
// three while one is away.
const holdersEach = 2500

func init() { insteadOfTests[holders](holdersVariable) }

func heldName(i int) string { return fmt.Sprint("held-", i) }

// run says when all names have been claimed somewhere, and goes on until the process is killed.
func (h holders) run() error {
	var there sync.WaitGroup
	for i := h.First; i < h.First+h.Number; i++ {
		named, err := route.Parse(h.Relays[i%len(h.Relays)])
		if err != nil {
			return err
		}
		node, err := newTrustingNode()
		if err != nil {
			return err
		}
		instance, err := relay.NewInstance()
		if err != nil {
			return err
		}
		there.Add(1)
		o := &homes.Outlet{
			Relay: named[:1], Name: heldName(i), Dial: node, Serve: node, // without an outlet's service
			New: func(to route.Route) *relay.Client {
				return &relay.Client{
					Relay: to, Name: heldName(i), Dial: node, Serve: node, Instance: instance,
				}
			},
			Registered: sync.OnceFunc(there.Done),
		}
		go o.Run(context.Background())
	}
	there.Wait()
	fmt.Println("ready")
	select {}
}

// newTrustingNode returns a node of somebody new, who trusts everybody.
func newTrustingNode() (*route.Node, error) {
	self, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		return nil, err
	}
	policy, err := trust.NewPolicy(trust.Config{Self: self.Identifier(), AllowAnyone: true})
	if err != nil {
		return nil, err
	}
	return route.NewNode(route.Config{
		Channel: channel.Config{Identity: self, Trust: policy},
		Logger:  slog.New(slog.DiscardHandler),
	})
}

// startHolders has so many people hold names, in as few processes as can be, and does not wait for
// them.
func (u person) startHolders(n int, relays []string) (all []*process) {
	u.t.Helper()
	self, err := os.Executable()
	if err != nil {
		u.t.Fatal(err)
	}
	for first := 0; first < n; first += holdersEach {
		text, err := json.Marshal(holders{first, min(holdersEach, n-first), relays})
		if err != nil {
			u.t.Fatal(err)
		}
		u.binary = self
		cmd := u.command()
		cmd.Env = append(cmd.Env, holdersVariable+"="+string(text))
		all = append(all, start(u.t, cmd))
	}
	return all
}
