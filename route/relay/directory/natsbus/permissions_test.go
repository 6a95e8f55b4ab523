package natsbus

import (
	"os"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/internal/brokertest"
)

// What docs/cluster.md has a server permit is enough.
func TestPermissionsOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "\n    authorization {")
	if !ok {
		t.Fatal("the page says nothing of permissions")
	}
	block, _, _ = strings.Cut(block, "\n\n")
	server := brokertest.NATS(t, "authorization {"+strings.ReplaceAll(block, "…", "p"))
	b := connectedAs(t, brokers.Login{User: "relay", Password: "p"}, server.Address)
	defer b.Listen("sp.1.h.a", func(said []byte, answer func([]byte)) { answer(said) })()
	if got, err := ask(b, "sp.1.h.a"); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
}
