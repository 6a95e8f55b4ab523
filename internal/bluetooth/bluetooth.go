// Package bluetooth makes channels over Bluetooth Low Energy: L2CAP's connection-oriented ones with
// credits, from one machine's radio to another's. Only Linux lets a program have them without more
// than system calls.
//
// Such a channel carries packets, has no half-close, and may lose packets where a kernel before
// Linux 6.9 has taken more than its receiver has room for. So each packet is numbered here: what is
// read is what was written, or an error.
package bluetooth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// MaxPacket is the most bytes of a packet, its number included. A larger one would save little,
	// and whoever comes may have the kernel keep one.
	MaxPacket = 16 << 10

	// NumberSize is how many bytes of a packet are its number: how many went before it that way, as
	// a big-endian integer that begins again at 0 behind its last.
	NumberSize = 4

	// FirstFreePSM and LastPSM are between what programs may listen at. Those before, from 1 on, are
	// given out by Bluetooth's owners, and need CAP_NET_BIND_SERVICE.
	FirstFreePSM = 0x80
	LastPSM      = 0xff
)

// lingerTimeout is for what has been written to be sent, before a channel is closed: closing takes
// back what has not been.
const lingerTimeout = time.Second

// Address is a device's, as it is written: the first byte is that of the manufacturer.
type Address [6]byte

// String returns the address as people write it: 00:1A:7D:DA:71:13.
func (a Address) String() string {
	return fmt.Sprintf("%02X:%02X:%02X:%02X:%02X:%02X", a[0], a[1], a[2], a[3], a[4], a[5])
}

// reversed is the address in the order of bytes that kernels and radios use.
func (a Address) reversed() Address {
	return Address{a[5], a[4], a[3], a[2], a[1], a[0]}
}

// Device is who is reached by radio. The zero Device is any adapter of this machine.
type Device struct {
	Address
	Random bool // the address is none that the device was made with
}

// At is where a channel ends. It is a net.Addr.
type At struct {
	Device
	PSM uint16
}

// Network implements net.Addr.
func (At) Network() string { return "ble" }

// String implements net.Addr.
func (a At) String() string {
	text := fmt.Sprintf("%v:%d", a.Address, a.PSM)
	if a.Random {
		text += "/random"
	}
	return text
}

var _ net.Addr = At{}

// Adapter is a radio of this machine.
type Adapter struct {
	Name    string  // hci0 and so on
	Address Address // zero if it has none of its own
	On      bool
	LE      bool // speaks Bluetooth Low Energy, and that is on

	index uint16
}

// What is missing to have channels.
var (
	ErrElsewhere = errors.New("only on Linux sp speaks Bluetooth: on other systems programs do " +
		"not get its channels without more than system calls")

	ErrNone = errors.New("this system has no Bluetooth: its kernel lacks the module bluetooth; or " +
		"this is a container with a network of its own, and needs the machine's (--network=host); or " +
		"RestrictAddressFamilies= of a unit of systemd's lacks AF_BLUETOOTH, as sp's own do: " +
		"bluetooth.conf among the examples adds it")

	ErrNoAdapter = errors.New("this machine has no Bluetooth adapter, or the kernel does not know it")
	ErrOff       = errors.New("the Bluetooth adapter is off: rfkill unblock bluetooth, and " +
		"bluetoothctl power on")
	ErrNoLE = errors.New("the Bluetooth adapter does not speak Low Energy, or that is switched off: " +
		"btmgmt le on")
)

// What ends a channel, besides its sides and the radio.
var (
	errLost  = errors.New("packets of the Bluetooth channel are missing")
	errShort = errors.New("a packet of the Bluetooth channel is too short")
	errLong  = errors.New("a packet of the Bluetooth channel is too long")
)

// payload returns what a packet says, which is the one that so many others went before.
func payload(packet []byte, number uint32) ([]byte, error) {
	switch {
	case len(packet) > MaxPacket:
		return nil, errLong
	case len(packet) <= NumberSize:
		return nil, errShort
	case binary.BigEndian.Uint32(packet) != number:
		return nil, errLost
	}
	return packet[NumberSize:], nil
}
