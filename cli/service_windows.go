package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

// lookEvery is how often a service is asked how far it has come.
const lookEvery = 100 * time.Millisecond

// failuresForgotten is after how many seconds without one a service has not failed.
const failuresForgotten = 3600

// afterFailures is what is done after the first, the second and each further failure of a service.
var afterFailures = []mgr.RecoveryAction{
	{Type: mgr.ServiceRestart, Delay: 2 * time.Second},
	{Type: mgr.ServiceRestart, Delay: 10 * time.Second},
	{Type: mgr.ServiceRestart, Delay: time.Minute},
}

// windowsServices is the service control manager.
type windowsServices struct{ *mgr.Mgr }

func openServices() (serviceManager, error) {
	m, err := mgr.Connect()
	if err != nil {
		return nil, ofServices("the service manager", err)
	}
	return windowsServices{m}, nil
}

func (m windowsServices) close() { _ = m.Disconnect() }

// ofServices is an error of the service manager's, with what to do about it.
func ofServices(what string, err error) error {
	hints := map[error]string{
		windows.ERROR_ACCESS_DENIED:          "do it as an administrator",
		windows.ERROR_SERVICE_DOES_NOT_EXIST: "sp service install makes one; --name names another",
		windows.ERROR_SERVICE_EXISTS:         "sp service remove; or give this one another --name",
		windows.ERROR_SERVICE_MARKED_FOR_DELETE: "it is removed when all windows are closed that " +
			"show services",
	}
	for is, hint := range hints {
		if errors.Is(err, is) {
			return withHint(fmt.Errorf("%s: %w", what, err), "%s", hint)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (m windowsServices) install(name string, line []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s, err := m.CreateService(name, self, mgr.Config{
		StartType: mgr.StartAutomatic, DisplayName: "sp: " + name,
		ServiceStartName: `NT SERVICE\` + name,
		Description:      "secure portals: sp " + line[len(hostLine(name, nil))],
	}, line...)
	if err != nil {
		return ofServices("service "+name, err)
	}
	defer s.Close()
	err = s.SetRecoveryActions(afterFailures, failuresForgotten)
	if err == nil {
		err = s.SetRecoveryActionsOnNonCrashFailures(true)
	}
	if err != nil && !errors.Is(err, windows.ERROR_INVALID_LEVEL) { // Wine does not know some
		return errors.Join(ofServices("service "+name, err), s.Delete())
	}
	_ = eventlog.Remove(name) // of one that was not removed as it should be
	const all = eventlog.Info | eventlog.Warning | eventlog.Error
	if err := eventlog.InstallAsEventCreate(name, all); err != nil {
		return errors.Join(ofServices("the event log", err), s.Delete())
	}
	return nil
}

// open returns a service of sp's. Others are none of its business: a slip of the pen would remove
// one of the system's.
func (m windowsServices) open(name string) (*mgr.Service, error) {
	s, err := m.OpenService(name)
	if err != nil {
		return nil, ofServices("service "+name, err)
	}
	line, err := commandLine(s)
	if err != nil {
		return nil, errors.Join(ofServices("service "+name, err), s.Close())
	}
	if !strings.Contains(line+" ", " "+strings.Join(hostLine(name, nil), " ")+" ") {
		err := fmt.Errorf("service %s: it is none of sp's, but runs %s", name, line)
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// maxServiceConfig is what Windows has a service's configuration be at most, in bytes.
const maxServiceConfig = 8 << 10

// commandLine is what a service runs. Config, which asks for more, fails in Wine.
func commandLine(s *mgr.Service) (string, error) {
	buffer := make([]uint64, maxServiceConfig/8) // aligned
	config := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buffer[0]))
	var needed uint32
	err := windows.QueryServiceConfig(s.Handle, config, maxServiceConfig, &needed)
	if err != nil {
		return "", err
	}
	return windows.UTF16PtrToString(config.BinaryPathName), nil
}

func (m windowsServices) start(ctx context.Context, name string) error {
	s, err := m.open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Start(); err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
		return ofServices("service "+name, err)
	}
	status, err := awaitState(ctx, s, svc.StartPending)
	switch {
	case err != nil || status.State == svc.Running:
	case status.State == svc.StopPending:
		err = withHint(fmt.Errorf("the service %s is just being stopped", name), "sp service status "+
			"tells when it has stopped: what is open is waited for")
	default:
		code := codeOf(status)
		err = withHint(&commandEnd{code: max(code, exitFailed), err: fmt.Errorf(
			"the service %s has ended, with exit code %d", name, code)},
			"its log says why: --log-file, or eventvwr, Windows Logs, Application, source %s", name)
	}
	return err
}

func (m windowsServices) stop(ctx context.Context, name string) error {
	s, err := m.open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	return stopService(ctx, s)
}

func stopService(ctx context.Context, s *mgr.Service) error {
	_, err := s.Control(svc.Stop)
	if errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return nil
	}
	if err != nil && !errors.Is(err, windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL) { // it is at it
		return ofServices("service "+s.Name, err)
	}
	soon, cancel := context.WithTimeout(ctx, sayWithin)
	defer cancel()
	status, err := awaitState(soon, s, svc.Running) // until it has heard of it
	if err == nil {
		status, err = awaitState(ctx, s, svc.StopPending)
	}
	if err == nil && status.State != svc.Stopped {
		err = fmt.Errorf("the service %s does not stop", s.Name)
	}
	return err
}

// awaitState returns when a service is no longer in the state that leads to another one.
func awaitState(ctx context.Context, s *mgr.Service, passing svc.State) (svc.Status, error) {
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	for {
		status, err := s.Query()
		if err != nil || status.State != passing {
			return status, err
		}
		select {
		case <-looks.C:
		case <-ctx.Done():
			return status, fmt.Errorf("the service %s goes on with it", s.Name)
		}
	}
}

func (m windowsServices) status(name string) (serviceStatus, error) {
	s, err := m.open(name)
	if err != nil {
		return serviceStatus{}, err
	}
	defer s.Close()
	status, err := s.Query()
	if err != nil {
		return serviceStatus{}, ofServices("service "+name, err)
	}
	words := map[svc.State]string{
		svc.Running: runningState, svc.Stopped: "stopped", svc.StartPending: "starting",
		svc.StopPending: "stopping", svc.Paused: "paused",
	}
	return serviceStatus{
		state: words[status.State], process: int(status.ProcessId), code: codeOf(status),
	}, nil
}

// codeOf is the exit code with which a service has ended: sp's, or the system's.
func codeOf(s svc.Status) int {
	if s.Win32ExitCode == uint32(windows.ERROR_SERVICE_SPECIFIC_ERROR) {
		return int(s.ServiceSpecificExitCode)
	}
	if s.Win32ExitCode == uint32(windows.ERROR_SERVICE_NEVER_STARTED) {
		return exitDone
	}
	return int(s.Win32ExitCode)
}

func (m windowsServices) remove(ctx context.Context, name string) error {
	s, err := m.open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := stopService(ctx, s); err != nil {
		return err
	}
	if err := s.Delete(); err != nil {
		return ofServices("service "+name, err)
	}
	_ = eventlog.Remove(name) // it may be one that sc has made
	return nil
}

// hostService has a command line be performed as the service of this name, and returns its exit
// code. What is said goes to the event log, and to too.
func hostService(name string, too io.Writer, perform performer, line []string) (int, error) {
	h := &serviceHandler{perform: perform, line: line, log: too}
	if log, err := eventlog.Open(name); err == nil {
		defer log.Close()
		h.log = io.MultiWriter(eventLines{log}, too)
	}
	err := svc.Run(name, h)
	if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		return 0, usageWithHint("sp service install has it do so",
			"only the service manager of Windows starts this")
	}
	return h.code, err
}

// serviceHandler is what Windows calls to have a service run.
type serviceHandler struct {
	perform performer
	line    []string
	log     io.Writer
	code    int
}

// Execute implements svc.Handler.
func (h *serviceHandler) Execute(
	_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status,
) (specific bool, code uint32) {
	stdout := &firstLine{to: h.log, ready: make(chan struct{})}
	stop, ended := make(chan os.Signal, 1), make(chan int, 1)
	go func() { ended <- h.perform(h.line, stdout, h.log, stop) }()
	service := &hosted[svc.ChangeRequest]{
		requests: requests, order: orderOf, ready: stdout.ready, ended: ended,
		report: func(r serviceReport) { status <- statusOf(r) },
		stop:   func() { stop <- syscall.SIGTERM },
	}
	h.code = service.run()
	return true, uint32(h.code)
}

func orderOf(r svc.ChangeRequest) serviceOrder {
	switch r.Cmd {
	case svc.Interrogate:
		return orderReport
	case svc.Stop, svc.Shutdown, svc.PreShutdown:
		return orderStop
	}
	return orderNothing
}

func statusOf(r serviceReport) svc.Status {
	const accepts = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown
	s := svc.Status{CheckPoint: r.step, WaitHint: uint32(r.within / time.Millisecond)}
	switch r.state {
	case serviceStarting:
		s.State, s.Accepts = svc.StartPending, accepts
	case serviceRunning:
		s.State, s.Accepts = svc.Running, accepts
	case serviceStopping:
		s.State = svc.StopPending
	}
	return s
}
