package netwatch

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// loopbackIndex is the loopback device's index, in each namespace: the kernel makes it first.
const loopbackIndex = 1

// wideBits is how long the prefix of a route is at most that may lead to the Internet: a VPN takes
// that in two halves. The routes of containers and neighbors are longer.
const wideBits = 7

// attributeKind is what of an attribute's kind is not a flag.
const attributeKind = 1<<14 - 1

var errShortMessage = errors.New("netlink: a message is too short")

// noticesMatter tells whether what the kernel says may be about addresses that count, or about the
// way to the Internet. What cannot be read may be.
func noticesMatter(datagram []byte) bool {
	all, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return true
	}
	for _, m := range all {
		switch m.Header.Type {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if len(m.Data) < unix.SizeofRtMsg || m.Data[1] <= wideBits {
				return true
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			// A lifetime that is set anew looks as if the address came, and the look finds that it
			// is there already.
			if a, ok := parseAddress(m); !ok || counts(a.address) && a.device != loopbackIndex {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// address is an address of a device.
type address struct {
	address netip.Addr
	device  int
	flags   uint32
}

// counts tells whether the address can be used, beyond its line.
func (a address) counts() bool {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	return counts(a.address) && a.device != loopbackIndex && a.flags&unusable == 0
}

// parseAddress reads a message about an address.
//
//	ifaddrmsg = family (1) | prefix (1) | flags (1) | scope (1) | device (4)
func parseAddress(m syscall.NetlinkMessage) (a address, ok bool) {
	if m.Header.Type != unix.RTM_NEWADDR && m.Header.Type != unix.RTM_DELADDR ||
		len(m.Data) < unix.SizeofIfAddrmsg {
		return a, false
	}
	a.flags = uint32(m.Data[2])
	a.device = int(binary.NativeEndian.Uint32(m.Data[4:]))
	var local, far netip.Addr // the same, but for a line between two
	for kind, value := range attributes(m.Data[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			far, _ = netip.AddrFromSlice(value)
		case unix.IFA_FLAGS:
			if len(value) == 4 {
				a.flags = binary.NativeEndian.Uint32(value)
			}
		}
	}
	if a.address = local; !local.IsValid() {
		a.address = far
	}
	return a, a.address.IsValid()
}

// parseWay reads the answer to the question for a way.
func parseWay(m syscall.NetlinkMessage) (w way, ok bool) {
	if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
		return w, false
	}
	for kind, value := range attributes(m.Data[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_OIF:
			if len(value) == 4 {
				w.device = int(binary.NativeEndian.Uint32(value))
			}
		case unix.RTA_GATEWAY:
			w.gateway, _ = netip.AddrFromSlice(value)
		case unix.RTA_VIA: // a gateway of the other family, which comes first
			if len(value) > 2 {
				w.gateway, _ = netip.AddrFromSlice(value[2:])
			}
		}
	}
	return w, w.device > 0
}

// parseError returns the error that a message is: a number, and the question.
func parseError(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return errShortMessage
	}
	number := int32(binary.NativeEndian.Uint32(m.Data))
	if number == 0 {
		return nil
	}
	return syscall.Errno(-number)
}

// attributes are what follows in a message, up to one that does not fit.
//
//	attribute = length (2), its own included | kind (2) | value, padded to 4
func attributes(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(kind uint16, value []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) & attributeKind
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			if !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
