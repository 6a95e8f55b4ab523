package transport_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/transport"
)

// fifo makes links of pairs of named pipes, one for each direction. Its addresses are
// fifo:DIRECTORY. Links have half-close, and no reset.
//
//	dialer                                         listener, who reads DIRECTORY/calls
//	  makes ID.up and ID.down, and holds both open
//	  ID                                 ────────▶
//	                                                 opens up to read and down to write
//	                                     ◀────────  one byte on down
//	  opens up to write, lets go, removes the files
type fifo struct{ config transport.Config }

func newFIFO(c transport.Config) transport.Transport { return fifo{c} }

const calls = "calls"

// fifoAddr is where one end of a link, or a listener, is.
type fifoAddr struct {
	directory string
	owner     uint32 // who has made the pipes
}

func (fifoAddr) Network() string  { return "fifo" }
func (a fifoAddr) String() string { return a.directory }

// Source implements transport.Transport: each user of this machine is one.
func (fifo) Source(peer net.Addr) admission.Source {
	return admission.FromName(fmt.Sprintf("fifo:%d", peer.(fifoAddr).owner))
}

// Close implements transport.Transport.
func (fifo) Close() error { return nil }

// Dial implements transport.Transport.
func (f fifo) Dial(ctx context.Context, a transport.Address) (transport.Link, error) {
	directory := transport.Rest(a)
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	name := hex.EncodeToString(id)
	up, down := pipesOf(directory, name)
	for _, path := range []string{up, down} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return nil, err
		}
		defer os.Remove(path)
		h, err := open(path, os.O_RDWR)
		if err != nil {
			return nil, err
		}
		defer h.Close() // held until then, or who opens one end would wait for the other
	}
	in, err := open(down, os.O_RDONLY)
	if err == nil {
		err = f.call(ctx, directory, name, in)
	}
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	out, err := open(up, os.O_WRONLY)
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	return newLink(in, out, fifoAddr{directory: directory})
}

// call tells who listens about the pipes called name, and returns when he has opened them.
func (f fifo) call(ctx context.Context, directory, name string, in *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, f.config.ConnectTimeout)
	defer cancel()
	to, err := open(filepath.Join(directory, calls), os.O_WRONLY) // fails if nobody listens
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := to.WriteString(name + "\n"); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = in.SetReadDeadline(time.Unix(1, 0)) })
	_, err = in.Read(make([]byte, 1))
	if !stop() && err == nil {
		err = context.Cause(ctx) // and in has a deadline now
	}
	return err
}

// Listen implements transport.Transport.
func (fifo) Listen(_ context.Context, a transport.Address) (transport.Listener, error) {
	directory := transport.Rest(a)
	path := filepath.Join(directory, calls)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	in, err := open(path, os.O_RDWR) // so that it has no end
	if err != nil {
		return nil, err
	}
	return &fifoListener{
		in:    in,
		lines: bufio.NewReader(in),
		at:    fifoAddr{directory: directory},
	}, nil
}

type fifoListener struct {
	in    *os.File
	lines *bufio.Reader
	at    fifoAddr
}

func (l *fifoListener) Addr() net.Addr { return l.at }

func (l *fifoListener) Close() error {
	_ = os.Remove(filepath.Join(l.at.directory, calls))
	return l.in.Close()
}

// Accept implements transport.Listener. Who calls and is gone again is passed over.
func (l *fifoListener) Accept() (transport.Link, error) {
	for {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			return nil, closedError(err)
		}
		name := line[:len(line)-1]
		if _, err := hex.DecodeString(name); err != nil {
			continue
		}
		up, down := pipesOf(l.at.directory, name)
		in, errIn := open(up, os.O_RDONLY)
		out, errOut := open(down, os.O_WRONLY)
		if errIn == nil && errOut == nil {
			if _, err := out.Write([]byte{1}); err == nil {
				return newLink(in, out, l.at)
			}
		}
		_ = in.Close()
		_ = out.Close()
	}
}

func pipesOf(directory, name string) (up, down string) {
	return filepath.Join(directory, name+".up"), filepath.Join(directory, name+".down")
}

func open(path string, how int) (*os.File, error) {
	return os.OpenFile(path, how|syscall.O_NONBLOCK, 0)
}

// fifoLink is two pipes.
type fifoLink struct {
	in, out       *os.File
	local, remote fifoAddr
}

// newLink returns the link of two pipes, whose far end is whoever has made them.
func newLink(in, out *os.File, at fifoAddr) (transport.Link, error) {
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	remote := at
	remote.owner = info.Sys().(*syscall.Stat_t).Uid
	return &fifoLink{in: in, out: out, local: at, remote: remote}, nil
}

func (l *fifoLink) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	return n, closedError(err)
}

func (l *fifoLink) Write(p []byte) (int, error) {
	n, err := l.out.Write(p)
	return n, closedError(err)
}

func (l *fifoLink) CloseWrite() error { return closedError(l.out.Close()) }

func (l *fifoLink) Close() error {
	_ = l.out.Close()
	return closedError(l.in.Close())
}

func (l *fifoLink) LocalAddr() net.Addr                { return l.local }
func (l *fifoLink) RemoteAddr() net.Addr               { return l.remote }
func (l *fifoLink) SetReadDeadline(t time.Time) error  { return l.in.SetReadDeadline(t) }
func (l *fifoLink) SetWriteDeadline(t time.Time) error { return l.out.SetWriteDeadline(t) }

func (l *fifoLink) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

// closedError says of a closed file what package net says of a closed connection.
func closedError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return err
}
