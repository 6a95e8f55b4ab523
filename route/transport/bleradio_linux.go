package transport

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/secureportal/sp/internal/bluetooth"
)

// dialRadio makes a channel to a device, from the adapter that Config.From names, if that is one.
func dialRadio(ctx context.Context, c Config, a Address) (radio, error) {
	var from bluetooth.Device
	if name := c.From.Interface; validAdapter.MatchString(name) {
		adapter, err := adapterNamed(name)
		if err != nil {
			return nil, err
		}
		from.Address = adapter.Address
	}
	device, _ := bleDevice(a) // which has been looked at
	on, err := bluetooth.Dial(ctx, from, bluetooth.At{Device: device, PSM: a.Port})
	if err != nil {
		return nil, err // and not a radio that is none
	}
	return on, nil
}

// adapterNamed returns the adapter of this machine that has a name.
func adapterNamed(name string) (bluetooth.Adapter, error) {
	all, err := bluetooth.Adapters()
	if err != nil {
		return bluetooth.Adapter{}, err
	}
	var names []string
	for _, one := range all {
		if one.Name == name {
			return one, nil
		}
		names = append(names, one.Name)
	}
	if len(names) == 0 {
		return bluetooth.Adapter{}, bluetooth.ErrNoAdapter
	}
	return bluetooth.Adapter{}, fmt.Errorf("this machine has no Bluetooth adapter %s, but %s", name,
		strings.Join(names, ", "))
}

// listening is a listener for channels, and the advertising that has others find it.
type listening struct {
	*bluetooth.Listener
	at   bluetooth.At
	says *bluetooth.Advertiser // nil if it is not this process that advertises
}

// listenRadio listens at an adapter, or at each, and has it advertise if that is allowed.
func listenRadio(c Config, a Address) (radioListener, error) {
	if err := bluetooth.Trouble(); err != nil {
		return nil, err
	}
	at, ok := bleDevice(a)
	if !ok {
		adapter, err := adapterNamed(a.Name)
		if err != nil {
			return nil, err
		}
		at.Address = adapter.Address
	}
	l, err := bluetooth.Listen(bluetooth.At{Device: at, PSM: a.Port})
	if err != nil {
		return nil, err
	}
	made := &listening{Listener: l, at: l.Addr().(bluetooth.At)}
	made.says, err = bluetooth.Advertise(at.Address)
	if err != nil && c.Unheard != nil {
		c.Unheard(atRadio(made.at), err)
	}
	if at == (bluetooth.Device{}) {
		made.at.Device = onlyAdapter()
	}
	return made, nil
}

// onlyAdapter returns this machine's adapter, if it has one and no other.
func onlyAdapter() (d bluetooth.Device) {
	if all, err := bluetooth.Adapters(); err == nil && len(all) == 1 {
		d.Address = all[0].Address
	}
	return d
}

// Accept implements radioListener.
func (l *listening) Accept() (radio, error) {
	on, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return on, nil
}

// Addr implements radioListener.
func (l *listening) Addr() net.Addr { return l.at }

// Close implements radioListener.
func (l *listening) Close() error {
	err := l.Listener.Close()
	if l.says != nil {
		l.says.Close()
	}
	return err
}
