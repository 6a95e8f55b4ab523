package transport

import (
	"context"
	"net"
	"time"

	"github.com/secureportal/sp/internal/bluetooth"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/mux"
)

// bleFrame has a frame of the mux fit into one packet: at 10 KB/s that takes more than a second.
const bleFrame = bluetooth.MaxPacket - bluetooth.NumberSize

// ble makes links over Bluetooth Low Energy. A channel by radio has no half-close, so it is a
// carrier: there is one between two nodes, and a mux on it.
type ble struct {
	bearings
	config Config
}

func newBLE(c Config) Transport { return &ble{newBearings(bleFrame), c} }

// Source implements Transport. A device that has the address it was made with is a source of its
// own. Random addresses are whichever somebody likes: all of them are one source.
func (*ble) Source(peer net.Addr) admission.Source {
	end, ok := peer.(urlAddr)
	if !ok {
		return admission.Source{}
	}
	at, ok := end.Addr.(bluetooth.At)
	if !ok || at.Random {
		return admission.FromName(bleScheme + " " + randomWord)
	}
	return admission.FromName(bleScheme + " " + at.Address.String())
}

// Dial implements Transport: a link is made on the channel that is there, or on a new one.
func (b *ble) Dial(ctx context.Context, a Address) (Link, error) {
	if err := bleHostMissing(a); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.config.sooner())
	defer cancel()
	return b.carriers.dial(ctx, a, func(ctx context.Context, a Address) (shared, error) {
		on, err := dialRadio(ctx, b.config, a)
		if err != nil {
			return nil, err
		}
		made := newBearing(radioBears{on}, dialerIdle, atRadioEnd(on.LocalAddr()),
			atRadioEnd(on.RemoteAddr()))
		if err := b.begin(made, on); err != nil {
			return nil, err
		}
		return made, nil
	})
}

// Listen implements Transport.
func (b *ble) Listen(_ context.Context, a Address) (Listener, error) {
	inner, err := listenRadio(b.config, a)
	if err != nil {
		return nil, err
	}
	return &bleListener{radioListener: inner, budget: b.budget}, nil
}

// radio is a channel by radio.
type radio interface {
	mux.Carrier
	QuietFor() time.Duration
	Linger()
	Reset() error
	SetDeadline(t time.Time) error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// radioListener listens for channels.
type radioListener interface {
	Accept() (radio, error)
	Close() error
	Addr() net.Addr // a bluetooth.At
}

// radioBears is a channel as what carries a mux.
type radioBears struct{ radio }

func (r radioBears) linger() { r.Linger() }

func (r radioBears) quietFor() time.Duration { return r.QuietFor() }

// atRadioEnd is the address of an end of a channel.
func atRadioEnd(a net.Addr) urlAddr {
	end := urlAddr{Addr: a, scheme: bleScheme}
	if at, ok := a.(bluetooth.At); ok {
		end.at = atRadio(at)
	}
	return end
}

// bleListener listens for channels, each of which carries links.
type bleListener struct {
	radioListener
	budget *mux.Budget // of all that come to one node
}

// Accept implements Listener.
func (l *bleListener) Accept() (Link, error) {
	on, err := l.radioListener.Accept()
	if err != nil {
		return nil, err
	}
	return &bleCaller{radio: on, budget: l.budget}, nil
}

// Down implements Interruptible: the adapter may have been switched off, or taken out, since.
func (*bleListener) Down() (changed <-chan struct{}, why error) { return nil, bluetooth.Trouble() }

// Addr implements Listener.
func (l *bleListener) Addr() net.Addr { return atRadioEnd(l.radioListener.Addr()) }

// bleCaller is somebody who has come by radio.
type bleCaller struct {
	radio
	budget *mux.Budget
}

var _ Carrying = (*bleCaller)(nil)

// Carry implements Carrying.
func (c *bleCaller) Carry(
	ctx context.Context, run func(func()) bool, within time.Duration, serve func(Link),
) error {
	on := radioBears{c.radio}
	defer on.linger()
	local, remote := atRadioEnd(c.radio.LocalAddr()), atRadioEnd(c.radio.RemoteAddr())
	remote.at = Address{} // where it listens nobody knows
	b := newBearing(on, acceptorIdle, local, remote)
	config := mux.Config{Budget: c.budget, Frame: bleFrame}
	return b.carry(ctx, c.radio, config, run, within, serve)
}

// Close implements net.Conn, for a channel that is not to carry anything.
func (c *bleCaller) Close() error { return c.Reset() }

// CloseWrite implements Link: there is no half-close.
func (*bleCaller) CloseWrite() error { return ErrNoHalfClose }

// SetReadDeadline implements net.Conn.
func (c *bleCaller) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// LocalAddr implements net.Conn.
func (c *bleCaller) LocalAddr() net.Addr { return atRadioEnd(c.radio.LocalAddr()) }

// RemoteAddr implements net.Conn.
func (c *bleCaller) RemoteAddr() net.Addr { return atRadioEnd(c.radio.RemoteAddr()) }
