package daemon_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
)

// Two services behind one address. The second is added while the first is running, whose
// connections do not notice.
func Example() {
	home, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)

	c := config.Config{
		Node: config.Node{
			Identity: filepath.Join(home, "key"),
			Trust:    config.Trust{Seen: filepath.Join(home, "seen")},
		},
		Outlets: []config.Outlet{{
			Entrance: config.Entrance{Listen: "127.0.0.1:0"},
			Target:   "127.0.0.1:22",
		}},
	}
	d, err := daemon.Start(context.Background(), c, daemon.Options{
		Logger: slog.New(slog.DiscardHandler),
		Notify: func(e daemon.Event) {
			if e.Kind == daemon.Ready {
				fmt.Println("ready:", e.Portal.Kind, e.Portal.Name)
			}
		},
	})
	if err != nil {
		panic(err)
	}

	c.Outlets = append(c.Outlets, config.Outlet{Service: "web", Target: "127.0.0.1:80"})
	if err := d.Apply(context.Background(), c); err != nil {
		panic(err)
	}
	fmt.Println("portals:", len(d.Status().Portals))
	if err := d.Shutdown(); err != nil {
		panic(err)
	}
	// Output:
	// ready: outlet outlet
	// ready: outlet web
	// portals: 2
}
