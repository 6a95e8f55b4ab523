package daemon

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/route/transport"
)

const (
	// closeAfter is how long no path is open before an inlet that listens when it is ready does not
	// listen any more: a session that is replaced is no reason.
	closeAfter = time.Second
	// tryAgain is how often the paths are tried while nobody can ask for them by connecting.
	tryAgain = 5 * time.Second
	// listenAgain is after the address could not be listened at anew: somebody else has it.
	listenAgain = time.Second
)

// serveWhenReady listens while a path is open, and only then: whoever connects meanwhile is refused
// by the system, as if the service itself were down. Connections that are open go on.
func (i *inlet) serveWhenReady() {
	var serving sync.WaitGroup
	defer close(i.served)
	defer serving.Wait()
	var failing logthrottle.Throttle
	var listening net.Listener
	downSince := time.Now()
	for {
		open, changed := i.paths.IsOpen()
		var again <-chan time.Time
		switch now := time.Now(); {
		case open && listening == nil:
			var err error
			if listening, err = i.listenAnew(); err != nil {
				if failing.Due(now) {
					i.site.logger.Warn("cannot listen again, and goes on trying", "error", err)
				}
				again = time.After(listenAgain)
				break
			}
			socket := listening
			downSince = time.Time{}
			i.accepts.Add(1)
			serving.Go(func() { i.serve(socket) })
			i.site.changed()
		case open:
			downSince = time.Time{}
		case listening != nil && downSince.IsZero():
			downSince = now
			again = time.After(closeAfter)
		case listening != nil && now.Sub(downSince) < closeAfter:
			again = time.After(closeAfter - now.Sub(downSince))
		case listening != nil:
			i.closeSocket()
			listening = nil
			i.site.logger.Info("no path is open: not listening until one is",
				"listen", i.config.Listen)
			again = time.After(tryAgain)
		default:
			i.paths.RetryNow()
			again = time.After(tryAgain)
		}
		select {
		case <-changed:
		case <-again:
		case <-i.accepting.Done():
			return
		}
	}
}

// tryListen finds out whether the inlet can listen, and at which port, and listens no longer. That
// is not left to the sockets that are held: one of those would go on to listen.
func (i *inlet) tryListen(ctx context.Context, at transport.Address) (port uint16, err error) {
	l, err := transport.ListenGuarded(ctx, at, transport.Config{SocketMode: i.site.base.SocketMode})
	if transport.IsInUse(err) {
		l, err = i.listen(ctx, at) // by a socket that is held for this inlet, if not by others
	}
	if err != nil {
		return 0, err
	}
	if got, ok := transport.ListensAt(l); ok {
		at.Port = got.Port
	}
	return at.Port, l.Close()
}

// listenAnew listens, unless the inlet takes nothing new any more.
func (i *inlet) listenAnew() (net.Listener, error) {
	ctx, cancel := context.WithTimeout(i.accepting, i.site.config.DialTime())
	defer cancel()
	i.mu.Lock()
	defer i.mu.Unlock()
	socket, err := i.listen(ctx, i.where)
	if err != nil {
		return nil, err
	}
	if i.accepting.Err() != nil {
		_ = socket.Close()
		return nil, i.accepting.Err()
	}
	i.socket, i.address = socket, describe(socket)
	return socket, nil
}

// listensAnew returns the port that the inlet needs again later, if it is one that listens when it
// is ready.
func (i *inlet) listensAnew() (port uint16, ok bool) {
	ok = i.config.ListenWhenReady && i.config.Listen != config.Stdio
	return i.where.Port, ok && transport.Scheme(i.where) == "tcp"
}
