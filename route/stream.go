package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// Stream is a conn on which a route has been opened, on either side: the dialer's opening message
// goes out before its first write, and the status is taken off before the first read; the
// acceptor's status goes out before its first write. It is a net.Conn with CloseWrite, and like any
// net.Conn safe for concurrent use.
type Stream struct {
	first netio.Conn                 // what it was opened on
	later atomic.Pointer[netio.Conn] // what it is on in place of that: see again
	again atomic.Pointer[again]      // nil for a stream that is not opened again, or not any more

	failure  atomic.Pointer[error] // why it could not be opened, or what the status said
	pending  atomic.Bool           // out is not empty
	awaiting atomic.Bool           // the status has not been read
	answerBy atomic.Bool           // it has a time limit

	writing struct {
		sync.Mutex
		out  []byte      // goes out before the next write
		soon *time.Timer // or when this says so
	}

	reading struct {
		sync.Mutex
		ahead []byte    // read and not yet taken
		from  *answerer // of the dialer's side, while the status has not been read

		answered func() // OnAnswer
	}

	asker *asker // of the acceptor's side of a secure channel; nil otherwise

	counted atomic.Pointer[func()] // ends that a Failover counts it; nil where none does
}

// answerer is where a stream's status comes from. Like all that is of no use once that has been
// read, it is not in the stream itself, which may live for years.
type answerer struct {
	route   Route
	begin   int  // the first of the route's addresses that is still to be walked
	inside  bool // it comes in a channel
	passing bool // and the node where the channel ends says first that it has passed the message on
	passed  bool // it has, and what is read now comes from behind it
}

var (
	_ netio.Conn       = (*Stream)(nil)
	_ netio.LazyReader = (*Stream)(nil)
	_ netio.Parker     = (*Stream)(nil)
	_ netio.MayParker  = (*Stream)(nil)
	_ netio.Glancer    = (*Stream)(nil)
	_ netio.Prompt     = (*Stream)(nil)
	_ netio.Resetter   = (*Stream)(nil)
	_ netio.Quieter    = (*Stream)(nil)
	_ io.ReaderFrom    = (*Stream)(nil)
	_ io.WriterTo      = (*Stream)(nil)
)

// opened returns the dialer's side of a stream on conn, whose opening message is out.
func opened(conn netio.Conn, from *answerer, out []byte) *Stream {
	s := &Stream{first: conn}
	s.reading.from = from
	s.writing.out = out
	s.pending.Store(true)
	s.awaiting.Store(true)
	return s
}

// accepted returns the acceptor's side of a stream on conn: ahead is what has been read from it
// already, and out is the status.
func accepted(conn netio.Conn, ahead, out []byte) *Stream {
	s := &Stream{first: conn}
	if len(ahead) > 0 {
		s.reading.ahead = ahead
	}
	s.writing.out = out
	s.pending.Store(true)
	return s
}

// refuse has the status say that there is nothing to be had after all, if it has not gone out.
func (s *Stream) refuse(status wire.Status) {
	w := &s.writing
	w.Lock()
	if s.pending.Load() && len(w.out) > 0 {
		w.out = wire.AppendStatus(nil, status)
	}
	w.Unlock()
	_ = s.SetWriteDeadline(time.Now().Add(refuseTimeout))
	if s.Flush() == nil {
		_ = s.conn().CloseWrite()
	}
}

// conn is what the stream is on now. It stays the same once the far end has answered.
func (s *Stream) conn() netio.Conn {
	if later := s.later.Load(); later != nil {
		return *later
	}
	return s.first
}

// Flush sends the opening message or the status if that has not been done.
func (s *Stream) Flush() error {
	_, err := s.Write(nil)
	return err
}

// FlushWithin sees to it that the opening message or the status goes out when d has passed, if
// nothing has been written by then.
func (s *Stream) FlushWithin(d time.Duration) {
	w := &s.writing
	w.Lock()
	defer w.Unlock()
	if len(w.out) > 0 {
		w.soon = time.AfterFunc(d, func() { _ = s.Flush() })
	}
}

// AnswerBy ends the stream with ErrNoAnswer if the far end has not answered when t has come. It is
// called before anything else is done with the stream.
func (s *Stream) AnswerBy(t time.Time) {
	s.answerBy.Store(true)
	if a := s.again.Load(); a != nil {
		a.answerBy = t
	}
	_ = s.conn().SetReadDeadline(t)
}

// OnAnswer has do called, once, when the far end has answered that the route is open. do must not
// use the stream. It is called before anything else is done with the stream.
func (s *Stream) OnAnswer(do func()) { s.reading.answered = do }

// ErrNoAnswer says that nobody answered an opening message in time.
var ErrNoAnswer = errors.New("no answer in time, although the far end is there")

// Write implements net.Conn.
func (s *Stream) Write(p []byte) (int, error) {
	if !s.isBeginning() {
		if len(p) == 0 {
			return 0, nil
		}
		return s.conn().Write(p)
	}
	w := &s.writing
	w.Lock()
	defer w.Unlock()
	if len(w.out)+len(p) == 0 {
		return 0, nil // another was faster, and may have ended the direction
	}
	if w.soon != nil {
		w.soon.Stop()
		w.soon = nil
	}
	before := len(w.out)
	s.again.Load().keepLocked(p)
	if before > 0 {
		p = append(w.out, p...)
	}
	n, err := s.conn().Write(p)
	w.out = nil
	s.pending.Store(false)
	if err != nil && s.mayOpenAgain() {
		return len(p) - before, nil // whoever waits for the answer sees to it
	}
	return max(n-before, 0), err
}

// isBeginning tells whether what is written does not simply go out.
func (s *Stream) isBeginning() bool { return s.pending.Load() || s.mayOpenAgain() }

// WriteBuffers implements netio.BuffersWriter.
func (s *Stream) WriteBuffers(b *net.Buffers) (int64, error) {
	if err := s.Flush(); err != nil {
		return 0, err
	}
	if s.mayOpenAgain() {
		return b.WriteTo(struct{ io.Writer }{s})
	}
	return netio.WriteBuffers(s.conn(), b)
}

// ReadFrom implements io.ReaderFrom: it sends whatever src gives, until src ends. What has to go
// out before waits for src's first data, and goes with it.
func (s *Stream) ReadFrom(src io.Reader) (int64, error) {
	first, err := s.readFirst(src)
	if err != nil {
		return first, endToNil(err)
	}
	r, ok := s.conn().(io.ReaderFrom)
	if !ok {
		r = writer{s.conn()}
	}
	rest, err := r.ReadFrom(src)
	return first + rest, err
}

// writer is a conn that cannot read from another one by itself.
type writer struct{ io.Writer }

func (w writer) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, src)
}

// readFirst sends src's first data, if something has to go out before, and all that it may have to
// send again.
func (s *Stream) readFirst(src io.Reader) (total int64, err error) {
	var room netio.PooledRoom
	defer room.Release()
	for s.isBeginning() {
		n, err := netio.ReadLazy(src, &room)
		if err != nil {
			return total, err
		}
		n, err = s.Write(room.Filled(n))
		if total += int64(n); err != nil {
			return total, netio.ToDestination(err)
		}
	}
	return total, nil
}

func endToNil(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// WriteTo implements io.WriterTo: it writes whatever arrives to dst, until the far end has ended
// its direction.
func (s *Stream) WriteTo(dst io.Writer) (int64, error) {
	first, err := s.writeAhead(dst)
	if err != nil {
		return first, err
	}
	w, ok := s.conn().(io.WriterTo)
	if !ok {
		w = reader{s.conn()}
	}
	rest, err := w.WriteTo(dst)
	return first + rest, err
}

// writeAhead waits for the status and writes what was read with it. It is a function of its own for
// the sake of the stack of who waits for the rest.
//
//go:noinline
func (s *Stream) writeAhead(dst io.Writer) (int64, error) {
	ahead, err := s.takeAhead()
	if err != nil || len(ahead) == 0 {
		return 0, err
	}
	n, err := dst.Write(ahead)
	return int64(n), netio.ToDestination(err)
}

// reader is a conn that cannot write to another one by itself.
type reader struct{ io.Reader }

func (r reader) WriteTo(dst io.Writer) (int64, error) {
	return io.Copy(dst, struct{ io.Reader }{r})
}

// takeAhead waits for the status and returns what was read with it.
func (s *Stream) takeAhead() ([]byte, error) {
	if err := s.status(); err != nil {
		return nil, err
	}
	r := &s.reading
	r.Lock()
	defer r.Unlock()
	ahead := r.ahead
	r.ahead = nil
	return ahead, nil
}

// Read implements net.Conn. It fails with a *StatusError if a hop could not open the route.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.status(); err != nil {
		return 0, err
	}
	if n := s.readAhead(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	return s.conn().Read(p)
}

// ReadLazy implements netio.LazyReader.
func (s *Stream) ReadLazy(room netio.Room) (int, error) {
	if err := s.status(); err != nil {
		return 0, err
	}
	s.reading.Lock()
	some := len(s.reading.ahead) > 0
	s.reading.Unlock()
	if some {
		return s.readAhead(room.Acquire()[0]), nil
	}
	if lazy, ok := s.conn().(netio.LazyReader); ok { // a frame less on the stack of who waits
		return lazy.ReadLazy(room)
	}
	return netio.ReadLazy(s.conn(), room)
}

// OwnsSocket tells whether the stream is on a connection of its own: see netio.
func (s *Stream) OwnsSocket() bool { return netio.OwnsSocket(s.conn()) }

// MayPark implements netio.MayParker: it cannot while the status is awaited, which may have a
// deadline.
func (s *Stream) MayPark() bool { return !s.awaiting.Load() && netio.MayPark(s.conn()) }

// Park implements netio.Parker.
func (s *Stream) Park(ready func()) bool {
	return !s.hasAhead() && netio.Park(s.conn(), ready)
}

// ParkAndGlance implements netio.Glancer.
func (s *Stream) ParkAndGlance(glance func() bool, ready func()) bool {
	return !s.hasAhead() && netio.ParkAndGlance(s.conn(), glance, ready)
}

// hasAhead tells whether what is read next is not simply what comes.
func (s *Stream) hasAhead() bool {
	if s.awaiting.Load() {
		return true
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	return len(s.reading.ahead) > 0
}

// ReadNow implements netio.Prompt, of a stream that is parked.
func (s *Stream) ReadNow(room netio.Room) (n int, ok bool) { return netio.ReadNow(s.conn(), room) }

// WriteNow implements netio.Prompt.
func (s *Stream) WriteNow(p []byte) int {
	if s.isBeginning() {
		return 0
	}
	return netio.WriteNow(s.conn(), p)
}

func (s *Stream) readAhead(p []byte) int {
	r := &s.reading
	r.Lock()
	defer r.Unlock()
	n := copy(p, r.ahead)
	if r.ahead = r.ahead[n:]; len(r.ahead) == 0 {
		r.ahead = nil
	}
	return n
}

// Await returns when the far end has answered that the route is open, or why it is not.
func (s *Stream) Await(ctx context.Context) error {
	if err := s.Flush(); err != nil {
		return err
	}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		_ = s.conn().SetReadDeadline(time.Unix(1, 0))
	})
	err := s.status()
	if stop() {
		return err
	}
	<-over
	_ = s.conn().SetReadDeadline(time.Time{})
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// status reads the status if that has not been done.
func (s *Stream) status() error {
	if !s.awaiting.Load() {
		return nil
	}
	if err := s.Flush(); err != nil {
		return err
	}
	r := &s.reading
	r.Lock()
	defer r.Unlock()
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	if !s.awaiting.Load() {
		return nil
	}
	err := s.readStatus()
	for err != nil && s.openAgain(err) {
		err = s.readStatus()
	}
	switch {
	case err == nil:
		if s.answerBy.Load() {
			_ = s.conn().SetReadDeadline(time.Time{})
		}
		s.settle(s.conn())
		r.from = nil
		s.awaiting.Store(false)
		if do := r.answered; do != nil {
			r.answered = nil
			do()
		}
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if !s.answerBy.Load() {
			return err
		}
		err = ErrNoAnswer
	}
	failure := err
	s.failure.Store(&failure) // before anybody else fails because of it
	s.settle(nil)
	return err
}

// readStatus is called with reading locked.
func (s *Stream) readStatus() error {
	var room netio.PooledRoom
	defer room.Release()
	r := &s.reading
	for {
		status, size, err := wire.ParseStatus(r.ahead)
		if err != nil {
			return s.foreign(err)
		}
		if size > 0 {
			if r.ahead = r.ahead[size:]; len(r.ahead) == 0 {
				r.ahead = nil
			}
			if r.from.passing && status.Code == wire.OK {
				r.from.passing, r.from.passed = false, true
				continue
			}
			return s.judge(status)
		}
		n, err := netio.ReadLazy(s.conn(), &room)
		if err == io.EOF {
			err = fmt.Errorf("the link was closed before the far end answered: %w",
				io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		r.ahead = append(r.ahead, room.Filled(n)...)
	}
}

// foreign says who has answered with something that is no status. Inside of a channel it is the
// node at its end, or one behind that.
func (s *Stream) foreign(err error) error {
	from := s.reading.from
	if from.inside || len(from.route) == 0 {
		return err
	}
	return &ForeignError{Where: where(from.route[0]), Err: err}
}

func (s *Stream) judge(status wire.Status) error {
	if status.Code == wire.OK {
		return nil
	}
	from := s.reading.from
	err := &StatusError{
		Code: status.Code, Reason: status.Reason, Hearsay: !from.inside || from.passed,
	}
	hop := int(status.Hop)
	if from.passed {
		hop = max(hop, 2) // it is not the node where the channel ends, whatever it says
	}
	err.locate(from.route, from.begin, hop)
	if err.Code == wire.BadMessage && hop == 0 && err.Hearsay {
		return s.foreign(err) // what sends back whatever it gets says this too
	}
	return err
}

// CloseWrite implements netio.Conn.
func (s *Stream) CloseWrite() error {
	if err := s.Flush(); err != nil {
		return err
	}
	a := s.again.Load()
	if a == nil {
		return s.conn().CloseWrite()
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	a.ended = true
	err := s.conn().CloseWrite()
	if a.mayHappen() {
		return nil
	}
	return err
}

// Close implements net.Conn.
func (s *Stream) Close() error {
	s.again.Load().stop()
	s.countedBy(nil)
	return s.conn().Close()
}

// Reset implements netio.Resetter.
func (s *Stream) Reset() error {
	s.again.Load().stop()
	s.countedBy(nil)
	return netio.Reset(s.conn())
}

// ResetDelivered implements netio.DeliveredResetter. What waits to go out with the first data is
// written first: an answer says that the service was reached, whatever became of it.
func (s *Stream) ResetDelivered(wait time.Duration) {
	by := time.Now().Add(wait)
	_ = s.SetWriteDeadline(by)
	_ = s.Flush()
	s.again.Load().stop()
	s.countedBy(nil)
	netio.ResetDelivered(s.conn(), time.Until(by))
}

// AwaitReset implements netio.ResetAwaiter.
func (s *Stream) AwaitReset() error { return netio.AwaitReset(s.conn()) }

// Takes implements netio.Taker.
func (s *Stream) Takes() int { return netio.Takes(s.conn()) }

// AwaitTakes implements netio.Taker.
func (s *Stream) AwaitTakes() { netio.AwaitTakes(s.conn()) }

// Unsent implements netio.Unsenter.
func (s *Stream) Unsent() int { return netio.Unsent(s.conn()) }

// Quiet implements netio.Quieter.
func (s *Stream) Quiet() bool {
	s.reading.Lock()
	defer s.reading.Unlock()
	return len(s.reading.ahead) == 0 && netio.Quiet(s.conn())
}

// TakesMore implements netio.MoreTaker.
func (s *Stream) TakesMore() bool { return netio.TakesMore(s.conn()) }

// Stuck implements what netio.Stuck asks for.
func (s *Stream) Stuck() (times int, sending bool) { return netio.Stuck(s.conn()) }

// NoteSends implements what netio.NoteSends asks for.
func (s *Stream) NoteSends(n *netio.Note) { netio.NoteSends(s.conn(), n) }

// Err returns why the conn below has ended, if it tells and has not ended cleanly.
func (s *Stream) Err() error {
	// Reading is locked while somebody waits for the status.
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	if e, ok := s.conn().(interface{ Err() error }); ok {
		return e.Err()
	}
	return nil
}

// Session returns the session that the stream is opened in, or nil if it has a link of its own.
func (s *Stream) Session() *channel.Session {
	if f, ok := s.conn().(*channel.Flow); ok {
		return f.Session()
	}
	return nil
}

// survives tells whether the stream outlives its link.
func (s *Stream) survives() bool {
	session := s.Session()
	return session != nil && session.Survives()
}

// Suspended tells whether the stream has lost its link and waits for another one.
func (s *Stream) Suspended() bool {
	f, ok := s.conn().(*channel.Flow)
	return ok && f.Suspended()
}

// GoesDirectly tells whether the stream goes past the relay that has joined its ends, just now or
// when it ended: see DirectState.
func (s *Stream) GoesDirectly() bool {
	on, ok := s.conn().(interface{ GoesDirectly() bool })
	return ok && on.GoesDirectly()
}

// Background says that nobody would miss the stream soon if it were gone: see
// channel.Flow.Background.
func (s *Stream) Background() {
	if f, ok := s.conn().(*channel.Flow); ok {
		f.Background()
	}
}

// GoesThrough tells whether a session's own link is one of links, or goes through one of them, in
// however many other channels.
func GoesThrough(s *channel.Session, isLink func(net.Conn) bool) bool {
	for conn := net.Conn(s.Link()); ; {
		if isLink(conn) {
			return true
		}
		switch outer := conn.(type) {
		case *Stream:
			conn = outer.conn()
		case *channel.Flow:
			conn = outer.Session().Link()
		default:
			return false
		}
	}
}

// OnEnd has do called when the channel below has ended. Nil takes that back. It is for a stream
// that is not closed.
func (s *Stream) OnEnd(do func()) {
	if s.again.Load().keepsHook(do) {
		return
	}
	if e, ok := s.conn().(interface{ OnEnd(func()) }); ok {
		e.OnEnd(do)
	}
}

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return s.conn().LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return s.conn().RemoteAddr() }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error { return s.conn().SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.conn().SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.conn().SetWriteDeadline(t) }
