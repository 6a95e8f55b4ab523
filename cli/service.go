package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"
)

const (
	defaultService = "sp"

	// hostWord is the command that the service manager starts.
	hostWord = "host"
)

func serviceCommand() *cli.Command {
	return &cli.Command{
		Name:  "service",
		Usage: "have Windows run a role, or the portals of a file, from its start on",
		UsageText: "sp service install [--name NAME] -- ROLE [FLAG…]\n" +
			"sp service start|stop|status|remove [--name NAME]",
		Description: "Other systems have service managers that sp does not set up: on Linux, packages " +
			"install units of\nsystemd's.",
		Subcommands: []*cli.Command{
			{
				Name:      "install",
				Usage:     "have it run as a service of Windows, which starts with the machine",
				UsageText: "sp service install [--name NAME] -- ROLE [FLAG…]",
				ArgsUsage: "-- ROLE [FLAG…]",
				Description: "ROLE is inlet, outlet, relay, bridge or up, with its flags, which are tried. " +
					"Paths are those\nseen from here, and what the environment says of flags here is " +
					"said to the service. It runs as the\naccount NT SERVICE\\NAME, which has no rights " +
					"of an administrator, and an identity of its own. Its\nlog is the event log's, if " +
					"--log-file does not name a file. If it fails, it is started again.",
				Flags:  []cli.Flag{serviceNameFlag()},
				Action: action(runServiceInstall),
			},
			{
				Name: "start", Usage: "start a service, and return when it runs",
				UsageText: "sp service start [--name NAME]", Flags: []cli.Flag{serviceNameFlag()},
				Action: action(onService(serviceManager.start)),
			},
			{
				Name:      "stop",
				Usage:     "stop a service, and return when its connections have finished, or --drain is over",
				UsageText: "sp service stop [--name NAME]", Flags: []cli.Flag{serviceNameFlag()},
				Action: action(onService(serviceManager.stop)),
			},
			{
				Name: "status", Usage: "tell whether a service runs; if it does not, the exit code is 1",
				UsageText: "sp service status [--name NAME]", Flags: []cli.Flag{serviceNameFlag()},
				Action: action(runServiceStatus),
			},
			{
				Name: "remove", Usage: "stop a service, and have it be none any more",
				UsageText: "sp service remove [--name NAME]", Flags: []cli.Flag{serviceNameFlag()},
				Action: action(onService(serviceManager.remove)),
			},
			{
				Name: hostWord, Usage: "be a service: what Windows starts, and nobody else",
				UsageText: "sp service host [--name NAME] -- ROLE [FLAG…]", ArgsUsage: "-- ROLE [FLAG…]",
				Flags: []cli.Flag{serviceNameFlag()}, Action: action(runServiceHost),
			},
		},
	}
}

func serviceNameFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "name", Value: defaultService, Usage: "`NAME` of the service, of several one each",
	}
}

// serviceManager is that of the system. Its errors are the system's, with the service's name.
type serviceManager interface {
	// install has a service run a command line, the words behind sp.
	install(name string, line []string) error
	start(ctx context.Context, name string) error
	stop(ctx context.Context, name string) error
	status(name string) (serviceStatus, error)
	remove(ctx context.Context, name string) error
	close()
}

// serviceStatus is how a service is.
type serviceStatus struct {
	state   string // in a word
	process int    // its number; 0 if it has none
	code    int    // with which it has ended; 0 if it has not, or well
}

func (s serviceStatus) runs() bool { return s.state == runningState }

// String is what sp service status prints.
func (s serviceStatus) String() string {
	switch {
	case s.process != 0:
		return s.state + " " + strconv.Itoa(s.process)
	case s.code != 0:
		return s.state + ", exit code " + strconv.Itoa(s.code)
	}
	return s.state
}

// runningState is the state of a service that runs.
const runningState = "running"

// serviceName is what a service's name looks like, which has at most maxServiceName characters.
// Counted by the pattern, they would be a part of what each start costs.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const maxServiceName = 80

// withService calls do with the service manager and the name of the service.
func withService(c *call, do func(m serviceManager, name string) error) error {
	m, err := openServices()
	if err != nil {
		return err
	}
	defer m.close()
	name := c.text("name")
	if len(name) > maxServiceName || !serviceName.MatchString(name) {
		return usage("--name %q is no name of a service: letters, digits, -, _ and .", name)
	}
	return do(m, name)
}

// onService is a command that does one thing to a service.
func onService(do func(serviceManager, context.Context, string) error) func(*call) error {
	return func(c *call) error {
		return withService(c, func(m serviceManager, name string) error { return do(m, c.ctx, name) })
	}
}

func runServiceInstall(c *call) error {
	return withService(c, func(m serviceManager, name string) error {
		folder, err := os.Getwd()
		if err != nil {
			return err
		}
		line, err := serviceLine(c.ctx, c.args, folder)
		if err != nil {
			return err
		}
		if err := m.install(name, hostLine(name, line)); err != nil {
			return err
		}
		next := "sp service start"
		if name != defaultService {
			next += " --name " + name
		}
		fmt.Fprintf(c.stderr, "sp: hint: %s starts it now; it starts with the machine from now on\n",
			next)
		return nil
	})
}

// hostLine is what the service manager is told to start, behind the program.
func hostLine(name string, line []string) []string {
	return slices.Concat([]string{"service", hostWord, "--name", name, "--"}, line)
}

func runServiceStatus(c *call) error {
	return withService(c, func(m serviceManager, name string) error {
		status, err := m.status(name)
		if err != nil {
			return err
		}
		say(c.stdout, "%v", status)
		if !status.runs() {
			return fmt.Errorf("the service %s does not run", name)
		}
		return nil
	})
}

// runServiceHost runs a command in this process as one of its own, which the service manager stops.
func runServiceHost(c *call) error {
	if len(c.args) == 0 {
		return usage("-- and a role are missing: sp service install has them be there")
	}
	too, end := hostLog(c)
	defer end()
	code, err := hostService(c.text("name"), too, c.process.again, c.args)
	if err == nil && code != exitDone {
		err = &commandEnd{code: code}
	}
	return err
}

// hostLog is the file that --log-file names in what a service runs, for what is said besides the
// log: that it is ready, and why it has ended. Whatever is wrong with that, the service says.
func hostLog(c *call) (to io.Writer, end func()) {
	parsed, err := parseCall(c.ctx, c.args)
	if err != nil || !parsed.has("log-file") {
		return io.Discard, func() {}
	}
	file, err := openLogFile(parsed.text("log-file"))
	if err != nil {
		return io.Discard, func() {}
	}
	return file, file.close
}

// performer performs a command line in this process, with streams of its own. What comes from
// signals is as if the process had got it.
type performer func(words []string, stdout, stderr io.Writer, signals <-chan os.Signal) (code int)

// noServices is why there is nothing that sp service could do on a system.
func noServices(system string) error {
	hint := map[string]string{
		"linux": "packaging/systemd has units for each role, and for sp up; docs/services.md tells how " +
			"to use them",
		"darwin": "launchd runs what a file in /Library/LaunchDaemons says: sp up, or a role",
	}
	return usageWithHint(
		cmp.Or(hint[system], "have the system's own service manager run sp up, or a role"),
		"sp service is for Windows, and this is %s", system)
}
