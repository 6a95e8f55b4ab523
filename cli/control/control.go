// Package control lets a user's other processes ask one that runs, and tell it what to do: over a
// Unix socket in a folder that is the user's alone.
//
// A process listens (Listen), says what it answers (Handle), and serves. Who wants to know finds
// all processes of the user (Find) and calls them (Process.Call). A call is a connection, on which
// each side says one JSON value:
//
//	caller   {"command":"status","args":…}
//	process  {"result":…} or {"error":"why not"}
//
// The package decides who may call: on Linux whoever has the process's own user or is root, and
// elsewhere who can open the folder. What the commands are, it does not know.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/pause"
)

const (
	maxCallers  = 8                // at once; others wait
	maxRequest  = 8 << 20          // bytes of a call: a configuration may be in it
	maxAnswer   = 256 << 20        // bytes of what comes back, as far as a caller reads
	callTimeout = 5 * time.Second  // for a call to come
	tellTimeout = 30 * time.Second // for a caller to take the answer
)

// request is what a caller says.
type request struct {
	Command string          `json:"command"`
	Args    json.RawMessage `json:"args,omitempty"`
}

// answer is what it is told. One of the two is there.
type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Handler answers a command. args is what the caller has given, and result what it is told, as
// JSON; the text of an error is told as well. It is called for several callers at the same time,
// and ctx ends with the server.
type Handler func(ctx context.Context, args json.RawMessage) (result any, err error)

// Server is the socket of a process. Handle is called before Serve, which ends it.
type Server struct {
	socket   *net.UnixListener
	path     string
	handlers map[string]Handler
}

// Path returns where the socket is.
func (s *Server) Path() string { return s.path }

// Handle has h answer a command.
func (s *Server) Handle(command string, h Handler) { s.handlers[command] = h }

// Serve answers until ctx ends. It removes the socket, and returns when all that it has begun to
// answer has been.
func (s *Server) Serve(ctx context.Context) {
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	var callers sync.WaitGroup
	defer callers.Wait()
	places := make(chan struct{}, maxCallers)
	for {
		places <- struct{}{}
		c, err := s.socket.AcceptUnix()
		if err != nil {
			<-places
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			pause.For(ctx, acceptPause) // such as for want of descriptors
			continue
		}
		callers.Go(func() {
			defer func() { <-places }()
			s.answer(ctx, c)
		})
	}
}

// acceptPause is for what keeps calls from being accepted to be over.
const acceptPause = time.Second

// Close removes the socket. It may be called again.
func (s *Server) Close() {
	_ = os.Remove(s.path) // first: who finds it can still connect
	_ = s.socket.Close()
}

// answer answers one call, or nothing to who is not to ask.
func (s *Server) answer(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	if !mayCall(c) {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(callTimeout))
	var q request
	if json.NewDecoder(io.LimitReader(c, maxRequest)).Decode(&q) != nil {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(tellTimeout))
	_, _ = c.Write(s.call(ctx, q))
}

// call returns the answer to a call.
func (s *Server) call(ctx context.Context, q request) []byte {
	result, err := any(nil), fmt.Errorf("this process does not know the command %q", q.Command)
	if h := s.handlers[q.Command]; h != nil {
		result, err = h(ctx, q.Args)
	}
	if err == nil {
		var b []byte
		if b, err = json.Marshal(result); err == nil {
			return slices.Concat([]byte(`{"result":`), b, []byte("}")) // it may be megabytes
		}
	}
	b, err := json.Marshal(answer{Error: err.Error()})
	if err != nil {
		return nil
	}
	return b
}

// Refusal is what a process says in place of a result.
type Refusal struct{ Text string }

func (e *Refusal) Error() string { return e.Text }

// Call has the process answer a command. args may be nil; what it is told goes into result, which
// points to something, or is nil. A *Refusal is the process's own error. ctx bounds all.
func (p Process) Call(ctx context.Context, command string, args, result any) error {
	c, err := new(net.Dialer).DialContext(ctx, "unix", p.Path)
	switch {
	case ctx.Err() != nil && err != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	q := request{Command: command}
	if args != nil {
		if q.Args, err = json.Marshal(args); err != nil {
			return err
		}
	}
	var a answer
	if err = json.NewEncoder(c).Encode(q); err == nil {
		err = json.NewDecoder(io.LimitReader(c, maxAnswer)).Decode(&a)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case a.Error != "":
		return &Refusal{a.Error}
	case result == nil:
		return nil
	}
	return json.Unmarshal(a.Result, result)
}
