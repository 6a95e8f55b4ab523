package bluetooth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel tells about its adapters over a socket of messages:
//
//	message = code (2) | adapter (2) | length (2) | value
//
// little-endian, where the code is that of a command or of an event. Everybody may ask, and whoever
// has CAP_NET_ADMIN may tell adapters what to do. See mgmt-api.txt of BlueZ.
const (
	managementHead = 6
	managementMost = 512 // bytes of a message here
	noAdapter      = 0xffff
	controlChannel = 3

	// managementPatience is for an answer.
	managementPatience = 2 * time.Second
)

// Commands.
const (
	readAdapters            = 0x0003
	readAdapter             = 0x0004
	setPowered              = 0x0005
	setLE                   = 0x000d
	readAdvertisingFeatures = 0x003d
	addAdvertising          = 0x003e
	removeAdvertising       = 0x003f
)

// Events.
const (
	commandComplete    = 0x0001
	commandStatus      = 0x0002
	adapterAdded       = 0x0004
	settingsChanged    = 0x0006
	advertisingRemoved = 0x0024
)

// What is switched on at an adapter.
const (
	settingPowered = 1 << 0
	settingLE      = 1 << 9
)

// What the kernel says to commands.
const (
	statusOK     = 0x00
	statusNotOn  = 0x0f
	statusDenied = 0x14
)

// ErrDenied says that this process may not tell adapters what to do.
var ErrDenied = errors.New("it takes CAP_NET_ADMIN")

var errNoAdvertising = errors.New("the adapter cannot advertise")

// management is a socket of such messages.
type management struct{ file *os.File }

func openManagement() (*management, error) {
	const kind = unix.SOCK_RAW | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(unix.AF_BLUETOOTH, kind, unix.BTPROTO_HCI)
	if err != nil {
		return nil, socketError(err)
	}
	err = unix.Bind(fd, &unix.SockaddrHCI{Dev: noAdapter, Channel: controlChannel})
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &management{os.NewFile(uintptr(fd), "bluetooth")}, nil
}

func (m *management) close() { _ = m.file.Close() }

// send sends a command.
func (m *management) send(code, adapter uint16, value []byte) error {
	b := binary.LittleEndian.AppendUint16(nil, code)
	b = binary.LittleEndian.AppendUint16(b, adapter)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	_, err := m.file.Write(append(b, value...))
	return inWords(err)
}

// next waits for an event.
func (m *management) next() (code, adapter uint16, value []byte, err error) {
	b := make([]byte, managementMost)
	n, err := m.file.Read(b)
	if err != nil {
		return 0, 0, nil, inWords(err)
	}
	if n < managementHead {
		return 0, 0, nil, errShort
	}
	word := binary.LittleEndian.Uint16
	return word(b), word(b[2:]), b[managementHead:n], nil
}

// ask sends a command, and returns what the kernel answers. Events that come before that are lost.
func (m *management) ask(command, adapter uint16, value []byte) ([]byte, error) {
	_ = m.file.SetDeadline(time.Now().Add(managementPatience))
	defer func() { _ = m.file.SetDeadline(time.Time{}) }()
	if err := m.send(command, adapter, value); err != nil {
		return nil, err
	}
	for {
		code, from, answer, err := m.next()
		if err != nil {
			return nil, err
		}
		if status, ok := isAnswer(command, code, answer); ok && from == adapter {
			return answer[min(3, len(answer)):], statusError(status)
		}
	}
}

// isAnswer tells whether an event answers a command, and how that went.
func isAnswer(command, code uint16, value []byte) (status byte, ok bool) {
	if code != commandComplete && code != commandStatus || len(value) < 3 {
		return 0, false
	}
	return value[2], binary.LittleEndian.Uint16(value) == command
}

func statusError(status byte) error {
	switch status {
	case statusOK:
		return nil
	case statusNotOn:
		return ErrOff
	case statusDenied:
		return ErrDenied
	}
	return fmt.Errorf("the kernel's Bluetooth says error %d", status)
}

// Adapters returns the radios of this machine.
func Adapters() ([]Adapter, error) {
	m, err := openManagement()
	if err != nil {
		return nil, err
	}
	defer m.close()
	return m.adapters()
}

func (m *management) adapters() (all []Adapter, err error) {
	list, err := m.ask(readAdapters, noAdapter, nil)
	if err != nil {
		return nil, err
	}
	for rest := list[min(2, len(list)):]; len(rest) >= 2; rest = rest[2:] {
		index := binary.LittleEndian.Uint16(rest)
		about, err := m.ask(readAdapter, index, nil)
		if a, ok := parseAdapter(index, about); err == nil && ok {
			all = append(all, a)
		} // else it is gone already
	}
	return all, nil
}

// parseAdapter reads: address (6) | version (1) | maker (2) | can (4) | is on (4) | …
func parseAdapter(index uint16, about []byte) (a Adapter, ok bool) {
	const settings = 6 + 1 + 2 + 4
	if len(about) < settings+4 {
		return a, false
	}
	on := binary.LittleEndian.Uint32(about[settings:])
	return Adapter{
		Name: fmt.Sprintf("hci%d", index), Address: Address(about).reversed(), index: index,
		On: on&settingPowered != 0, LE: on&settingLE != 0,
	}, true
}

// Trouble returns what keeps this machine from having channels, or nil if nobody can tell.
func Trouble() error {
	all, err := Adapters()
	if err != nil {
		if errors.Is(err, ErrNone) {
			return err
		}
		return nil
	}
	if len(all) == 0 {
		return ErrNoAdapter
	}
	err = ErrOff
	for _, a := range all {
		switch {
		case a.On && a.LE:
			return nil
		case a.On:
			err = ErrNoLE
		}
	}
	return err
}

// SwitchOn switches Low Energy and then the adapter itself on. It takes CAP_NET_ADMIN.
func SwitchOn(a Adapter) error {
	m, err := openManagement()
	if err != nil {
		return err
	}
	defer m.close()
	for _, command := range []uint16{setLE, setPowered} {
		if _, err := m.ask(command, a.index, []byte{1}); err != nil {
			return err
		}
	}
	return nil
}

// Advertiser has adapters tell whoever looks that they can be connected to.
type Advertiser struct {
	at     Address // of the adapter; zero is each
	events *management
	done   chan struct{}
	mine   map[uint16]byte // which of an adapter's advertisements is this one; run's until done
}

// Advertise has an adapter, or each if at is zero, tell whoever looks that it can be connected to,
// until Close: also one that is switched on, or comes, later. It takes CAP_NET_ADMIN, and returns
// ErrDenied without.
func Advertise(at Address) (*Advertiser, error) {
	events, err := openManagement()
	if err != nil {
		return nil, err
	}
	a := &Advertiser{
		at: at, events: events, done: make(chan struct{}), mine: make(map[uint16]byte),
	}
	if err := a.advertise(); err != nil {
		events.close()
		a.withdraw()
		return nil, err
	}
	go a.run()
	return a, nil
}

// advertise adds an advertisement to each adapter that has none of this one's. It does so on a
// socket of its own: on the other one events are waited for.
func (a *Advertiser) advertise() error {
	m, err := openManagement()
	if err != nil {
		return err
	}
	defer m.close()
	all, err := m.adapters()
	if err != nil {
		return err
	}
	for _, one := range all {
		if _, has := a.mine[one.index]; has || !one.On || a.at != (Address{}) && a.at != one.Address {
			continue
		}
		instance, err := m.addAdvertising(one.index)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
		a.mine[one.index] = instance
	}
	return nil
}

// addAdvertising adds the last of the advertisements that an adapter can have, or puts it in place
// of the one of another process of sp: other programs begin with the first.
func (m *management) addAdvertising(adapter uint16) (instance byte, err error) {
	const most = 4 + 1 + 1 // features (4) | bytes (1) | bytes (1) | most (1) | …
	features, err := m.ask(readAdvertisingFeatures, adapter, nil)
	if err != nil {
		return 0, err
	}
	if len(features) <= most || features[most] == 0 {
		return 0, errNoAdvertising
	}
	instance = features[most]
	// instance (1) | flags (4): can be connected to | duration (2) | timeout (2) | lengths (1, 1)
	value := []byte{instance, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	_, err = m.ask(addAdvertising, adapter, value)
	return instance, err
}

// run looks again when something has happened at an adapter, until nobody is told any more.
func (a *Advertiser) run() {
	defer close(a.done)
	for {
		code, adapter, _, err := a.events.next()
		switch {
		case err != nil:
			return
		case code == advertisingRemoved, code == adapterAdded:
			delete(a.mine, adapter)
		case code != settingsChanged:
			continue
		}
		_ = a.advertise() // or when the next thing happens
	}
}

// Close has the adapters tell it no more.
func (a *Advertiser) Close() {
	a.events.close()
	<-a.done
	a.withdraw()
}

func (a *Advertiser) withdraw() {
	m, err := openManagement()
	if err != nil {
		return
	}
	defer m.close()
	for adapter, instance := range a.mine {
		_, _ = m.ask(removeAdvertising, adapter, []byte{instance})
	}
}
