package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

const (
	defaultBenchTime = 3 * time.Second
	maxBenchTime     = time.Minute // of which the service's own bound leaves something
	maxBenchStreams  = 16
	maxBenchFile     = 1 << 20 // bytes of what --compare reads
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure how much goes through a route each way, and how fast it answers",
		UsageText: "sp bench --to ROUTE [--duration 3s] [--json]\n" +
			"sp bench --to ROUTE --compare FILE      (with what --json has printed before)",
		ArgsUsage: "[ROUTE]",
		Description: "The route leads to an outlet whose service is sp's own: " +
			"sp outlet --target bench: …, beside the one\nthat is of use, by the same way. " +
			"Nothing is said to any other service. It takes four times --duration,\n" +
			"and the way is full meanwhile. Where connections go past the relay on it, that is measured.",
		Flags: slices.Concat([]cli.Flag{
			toFlag(),
			&cli.DurationFlag{
				Name: "duration", Value: defaultBenchTime, Category: timeCategory,
				Usage: "how long each of the four parts takes",
			},
			&cli.IntFlag{
				Name: "streams", Value: 1,
				Usage: "how many `CONNECTIONS` carry data at once",
			},
			&cli.StringFlag{
				Name: "compare", TakesFile: true,
				Usage: "show the results beside those in `FILE`, which --json has printed",
			},
			directFlag(),
			jsonFlag(),
			timeoutFlag("how long to wait for the outlet to answer"),
		}, quietFlags(nodeFlags(ownKeyText))),
		Action: action(runBench),
	}
}

// benchResult is what has been measured. Programs read it: fields may be added.
type benchResult struct {
	Route       string       `json:"route"`
	Direct      string       `json:"direct,omitempty"` // where the outlet is, if past the relay
	Seconds     float64      `json:"seconds"`          // that each part has taken
	Streams     int          `json:"streams"`
	Up          float64      `json:"up"`          // to the service, bytes a second
	Down        float64      `json:"down"`        // from it
	Connections float64      `json:"connections"` // a second, one after the other
	Idle        benchLatency `json:"idle"`
	LoadedUp    benchLatency `json:"loaded_up"`   // while data goes to the service
	LoadedDown  benchLatency `json:"loaded_down"` // and while it comes from there
}

// benchLatency is how long one byte takes there and back, in seconds.
type benchLatency struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Times int     `json:"times"`
}

func runBench(c *call) error {
	if err := routeArgument(c); err != nil {
		return err
	}
	long, streams := c.duration("duration"), c.count("streams")
	switch {
	case long > maxBenchTime:
		return usage("--duration %v is too long: %v is the most", long, maxBenchTime)
	case streams > maxBenchStreams:
		return usage("--streams %d are too many: %d are the most", streams, maxBenchStreams)
	}
	var before *benchResult
	if file := c.text("compare"); file != "" {
		var err error
		if before, err = readBench(file); err != nil {
			return err
		}
	}
	node, to, err := openTo(c)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := portal.CheckRoute(to); err != nil {
		return err
	}
	b := &bench{
		ctx: c.ctx, node: node, to: to, long: long, streams: streams, timeout: c.duration("timeout"),
		direct: c.yes("direct"),
	}
	if c.process.terminal {
		b.progress = c.stderr
	}
	result, err := b.run()
	if ended := c.process.signals.ended(); ended != nil {
		return ended
	}
	if err != nil {
		return err
	}
	result.Route = route.Format(to)
	if c.yes("json") {
		return printJSON(c.stdout, result)
	}
	showBench(c.stdout, result, before)
	return nil
}

// readBench reads what --json has printed.
func readBench(file string) (*benchResult, error) {
	text, _, err := atomicfile.Read(file, maxBenchFile)
	if err != nil {
		return nil, fmt.Errorf("--compare %s: %w", file, atomicfile.WithoutPath(err))
	}
	r := new(benchResult)
	err = json.Unmarshal(text, r)
	if err == nil && (r.Route == "" || r.Up <= 0) {
		err = errors.New("there are no results in it")
	}
	if err != nil {
		return nil, fmt.Errorf("--compare %s: it is not what sp bench --json prints: %w", file, err)
	}
	return r, nil
}

// showBench prints a line for each figure, beside another one if there are some before.
func showBench(w io.Writer, now, before *benchResult) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush()
	if now.Direct != "" {
		say(w, "it goes to %s, past the relay", now.Direct)
	}
	if before != nil {
		fmt.Fprint(t, "now\tbefore\tratio\t\n")
	}
	was := before
	if was == nil {
		was = new(benchResult)
	}
	rate := func(v float64) string { return size(v) + "/s" }
	took := func(v float64) string { return milliseconds(seconds(v)) }
	each := func(v float64) string { return fmt.Sprintf("%.1f/s", v) }
	for _, line := range []struct {
		what        string
		now, before float64
		text        func(float64) string
	}{
		{"to the service", now.Up, was.Up, rate},
		{"from the service", now.Down, was.Down, rate},
		{"there and back, idle, p50", now.Idle.P50, was.Idle.P50, took},
		{"p99", now.Idle.P99, was.Idle.P99, took},
		{"while data goes there, p50", now.LoadedUp.P50, was.LoadedUp.P50, took},
		{"p99", now.LoadedUp.P99, was.LoadedUp.P99, took},
		{"while data comes, p50", now.LoadedDown.P50, was.LoadedDown.P50, took},
		{"p99", now.LoadedDown.P99, was.LoadedDown.P99, took},
		{"connections", now.Connections, was.Connections, each},
	} {
		text := line.text(line.now)
		if before != nil {
			ratio := "-"
			if line.before > 0 {
				ratio = fmt.Sprintf("%.2f", line.now/line.before)
			}
			text += "\t" + line.text(line.before) + "\t" + ratio
		}
		fmt.Fprintf(t, "%s\t  %s\n", text, line.what)
	}
	if before != nil && before.Route != now.Route {
		fmt.Fprintf(t, "before: %s\n", strings.TrimSpace(plain(before.Route)))
	}
}
