package portal

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// patientService is a service that answers what a test says, and counts who asks.
type patientService struct {
	at     string
	l      net.Listener
	mu     sync.Mutex
	answer string
	asked  []string
	tasks  sync.WaitGroup
}

func newPatientService(t *testing.T, answer string) *patientService {
	t.Helper()
	l := testkit.Listen(t)
	s := &patientService{at: l.Addr().String(), l: l, answer: answer}
	s.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(c)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.tasks.Wait()
	})
	return s
}

// serve reads a request as far as it comes, and answers it.
func (s *patientService) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	var request strings.Builder
	b := make([]byte, 1<<10)
	for !strings.HasSuffix(request.String(), "\r\n\r\n") {
		n, err := c.Read(b)
		request.Write(b[:n])
		if err != nil {
			break
		}
	}
	s.mu.Lock()
	s.asked = append(s.asked, request.String())
	answer := s.answer
	s.mu.Unlock()
	_, _ = io.WriteString(c, answer)
}

func (s *patientService) says(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// checked runs a check of what text says, again and again, until the test ends.
func checked(t *testing.T, text, target string) *Check {
	t.Helper()
	return checkedEach(t, 10*time.Millisecond, text, target)
}

func checkedEach(t *testing.T, d time.Duration, text, target string) *Check {
	t.Helper()
	a, err := transport.ParseTarget(target, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCheck(text, a)
	if err != nil {
		t.Fatal(err)
	}
	c.Interval, c.Logger = d, quiet()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Within(t, done, "Run")
	})
	return c
}

func (c *Check) isSick() bool {
	sick, _ := c.IsSick()
	return sick
}

const good = "HTTP/1.1 204 No Content\r\n\r\n"

// A service that answers well is well; one that does not answer so, or at all, is not, until it
// does.
func TestCheckHTTP(t *testing.T) {
	s := newPatientService(t, good)
	for _, text := range []string{"http:///health?x=1", "http://" + s.at + "/health?x=1"} {
		s.says(good)
		c := checked(t, text, s.at)
		for _, bad := range []string{
			"HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.0 404\r\n\r\n", "220 mail\r\n", "",
			"HTTP/1.1 2 0\r\n", "HTTP/1.1 2000\r\n", "HTTP/1.1\r\n", "HTTP/1.1 199 x\r\n",
			strings.Repeat("x", 2*checkLine),
		} {
			s.says(bad)
			testkit.Eventually(t, "it is not well", c.isSick)
			s.says(good)
			testkit.Eventually(t, "it is well", func() bool { return !c.isSick() })
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, host := range []string{"localhost", s.at} {
		want := "GET /health?x=1 HTTP/1.1\r\nHost: " + host + "\r\n"
		has := false
		for _, request := range s.asked {
			has = has || strings.HasPrefix(request, want)
		}
		if !has {
			t.Errorf("nobody has asked %q", want)
		}
	}
}

// One that can be connected to is well, whatever it says.
func TestCheckTCP(t *testing.T) {
	s := newPatientService(t, "220 mail\r\n")
	c := checked(t, "tcp", s.at)
	asked := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.asked) > 3
	}
	testkit.Eventually(t, "it is asked", asked)
	if c.isSick() {
		t.Error("it is not well")
	}
	_ = s.l.Close()
	testkit.Eventually(t, "it is not well", c.isSick)
}

// The first answer decides, and then two in a row do.
func TestCheckDecides(t *testing.T) {
	s := newPatientService(t, "")
	c := checkedEach(t, time.Hour, "http:///", s.at)
	testkit.Eventually(t, "it is not well", c.isSick)
	s.says(good)
	c.hasten()
	testkit.Eventually(t, "it is asked twice more", func() bool { return !c.isSick() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.asked); n != 1+checkPasses {
		t.Errorf("asked %d times", n)
	}
}

func TestParseCheck(t *testing.T) {
	target, err := transport.ParseTarget("127.0.0.1:80", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"tcp": "127.0.0.1:80", "http:///x": "127.0.0.1:80", "http://": "127.0.0.1:80",
		"http://a.example": "a.example:80", "http://[::1]:8080/x": "[::1]:8080",
		"http://a.example:81?x=y": "a.example:81",
	} {
		if c, err := ParseCheck(text, target); err != nil || transport.Format(c.Address()) != want {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	for _, text := range []string{
		"", "udp", "https://a/", "http:x", "http://me:secret@a/", "http://a b/", "http://a:99999/",
		"http://a:0/", "a:80", "http://a/\r\nX: y",
	} {
		if c, err := ParseCheck(text, target); err == nil {
			t.Errorf("%q is %+v", text, c)
		}
	}
}

// Where the service is not well, streams are refused, and the service is not asked.
func TestSickOutletRefuses(t *testing.T) {
	s := newPatientService(t, "")
	c := checked(t, "http:///", s.at)
	testkit.Eventually(t, "it is not well", c.isSick)
	var refused *route.StatusError
	o := &Outlet{Target: c.Address(), Check: c, Logger: quiet()}
	err := o.Serve(t.Context(), &route.Request{})
	if !errors.As(err, &refused) || refused.Code != wire.Unreachable ||
		refused.Reason != "the target is not well" {
		t.Errorf("got %v", err)
	}
}

// A connection that fails has the service looked at soon.
func TestFailureHastensCheck(t *testing.T) {
	s := newPatientService(t, "")
	c := checkedEach(t, time.Hour, "tcp", s.at)
	testkit.Eventually(t, "it is asked", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.asked) > 0
	})
	_ = s.l.Close()
	o := &Outlet{Target: c.Address(), Check: c, Logger: quiet()}
	testkit.Eventually(t, "it is not well", func() bool {
		return o.Serve(t.Context(), &route.Request{}) != nil && c.isSick()
	})
}
