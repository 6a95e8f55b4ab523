//go:build unix

// The recorder: the second implementation plays stories with the command, and all is kept.

package docs_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var (
	recordOf = flag.String("record", "", "the `path` of the sp that TestRecord records")
	recordIn = flag.String("record-in", recordings, "the `folder` for the recordings")
)

// TestRecord makes the recordings anew, from the command that -record names.
func TestRecord(t *testing.T) {
	if *recordOf == "" {
		t.Skip("records only with -record")
	}
	binary, err := filepath.Abs(*recordOf)
	check(t, err)
	if len(stories) != len(recorded) {
		t.Errorf("there are %d stories, and %d recordings are read", len(stories), len(recorded))
	}
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			r := play(t, binary, story)
			if !t.Failed() {
				r.save(t, *recordIn, story.name)
			}
		})
	}
}

// TestSameStories plays the stories of the recordings with the build of now: what is said has to be
// readable in the same way, and sp has to say the same, but for keys and the like.
func TestSameStories(t *testing.T) {
	if os.Getenv("SP_BEFORE") == "" && os.Getenv("SP_NOW") == "" {
		t.Skip("plays with the command if SP_BEFORE or SP_NOW is set")
	}
	now, before := current(t), load(t, recordings)
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			then := newReading(t, before[story.name])
			then.all()
			r := play(t, now, story)
			if t.Failed() {
				return
			}
			played := newReading(t, r)
			played.all()
			want, got := then.outline(), played.outline()
			for len(want) > 0 && len(got) > 0 && want[0] == got[0] {
				want, got = want[1:], got[1:]
			}
			if len(want)+len(got) > 0 {
				t.Errorf("once:\n%s\nnow:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
			}
		})
	}
}

// story is what the second implementation and one or more processes of sp do together.
type story struct {
	name, about string
	play        func(r *recorder)
}

// recorder records one story.
type recorder struct {
	*testing.T
	binary string
	home   string
	tape   *tape
}

// play plays a story with sp's command, and returns what was said.
func play(t *testing.T, binary string, s story) *recording {
	t.Helper()
	r := &recorder{t, binary, t.TempDir(), newTape(s.about)}
	t.Run("play", func(t *testing.T) { // what it has started has ended when this has
		r.T = t
		s.play(r)
	})
	keys, err := filepath.Glob(filepath.Join(r.home, "*.key"))
	check(t, err)
	for _, file := range keys {
		text, err := os.ReadFile(file)
		check(t, err)
		name := filepath.Base(file)
		r.tape.recording.Keys[name[:len(name)-len(".key")]] = string(text)
	}
	return &r.tape.recording
}

// second returns somebody new of the second implementation, who talks to a node.
func (r *recorder) second(to string) *second {
	s := newSecond(r.T, to)
	s.tape = r.tape
	r.tape.person(s.self)
	return s
}

// sp starts a role of sp with a key file of that name.
func (r *recorder) sp(role string, args ...string) *process {
	r.Helper()
	key := filepath.Join(r.home, role+".key")
	if _, err := os.Stat(key); errors.Is(err, os.ErrNotExist) {
		r.key(role)
	}
	seen := filepath.Join(r.home, role+".seen")
	all := append([]string{role, "--identity", key, "--seen", seen}, args...)
	return start(r.T, r.home, r.binary, all...)
}

// key makes a key file for a role, and returns the Identifier.
func (r *recorder) key(role string) string {
	r.Helper()
	_, identifier := newKey(r.T, r.home, r.binary, role)
	return identifier
}

// quiet are flags for a story in which sp is to say nothing of its own accord.
const quiet = "--keepalive=10m"

// target is the service that an outlet connects to.
type target struct {
	net.Listener
	*second
}

func (r *recorder) target() *target {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(r.T, err)
	r.Cleanup(func() { _ = l.Close() })
	return &target{l, &second{T: r.T, tape: r.tape}}
}

// take accepts a connection of the outlet's.
func (a *target) take() *link {
	a.Helper()
	check(a.T, a.Listener.(*net.TCPListener).SetDeadline(deadline()))
	c, err := a.Accept()
	check(a.T, err)
	l := a.link(c, bySP)
	l.track.change(func(l *recordedLink) { l.Plain = "target" })
	return l
}

// client connects to an inlet.
func (r *recorder) client(at string) *link {
	r.Helper()
	c, err := net.Dial("tcp", at)
	check(r.T, err)
	l := (&second{T: r.T, tape: r.tape}).link(c, bySecond)
	l.track.change(func(l *recordedLink) { l.Plain = "client" })
	return l
}

// hears reads bytes that sp passes on.
func (l *link) hears(want []byte) {
	l.Helper()
	b := l.take(len(want))
	l.heard(isRaw, b, nil)
	if !bytes.Equal(b, want) {
		l.Fatalf("sp passes on %q, want %q", b, want)
	}
}

// says sends bytes for sp to pass on.
func (l *link) says(b []byte) {
	l.Helper()
	l.send(raw(b))
}

// closeWrite ends this side's direction.
func (l *link) closeWrite() {
	l.Helper()
	check(l.T, l.Conn.(interface{ CloseWrite() error }).CloseWrite())
	l.track.add(bySecond, piece{Kind: isEnd})
}

// reset resets the connection.
func (l *link) reset() {
	l.Helper()
	check(l.T, l.Conn.(*net.TCPConn).SetLinger(0))
	check(l.T, l.Close())
}

// wasReset makes sure that the connection has been reset.
func (l *link) wasReset() {
	l.Helper()
	if b, err := io.ReadAll(l.r); len(b) > 0 || !errors.Is(err, syscall.ECONNRESET) {
		l.Errorf("%d bytes more, %v, want a reset", len(b), err)
	}
}

// aborted makes sure that the other side aborts the flow.
func (f *flow) aborted(reason byte) {
	f.Helper()
	if kind, data := f.record(f.receive); kind != 2 || !bytes.Equal(data, []byte{reason}) {
		f.Fatalf("record of type %d with %x, want an abort", kind, data)
	}
}
