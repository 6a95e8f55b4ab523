package udp

import (
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A socket that is bound to no address gets datagrams that were sent to any of this machine's. What
// is sent back has to come from that one: a client drops what comes from elsewhere.

// destinationSpace is how many bytes the kernel takes to tell where a datagram was sent.
var destinationSpace = unix.CmsgSpace(unix.SizeofInet6Pktinfo)

// tellDestination has the kernel tell that, and reports whether it does.
func tellDestination(udp *net.UDPConn, v4 bool) bool {
	raw, err := udp.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if v4 {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	return err == nil && failed == nil
}

// destination returns which of this machine's addresses the kernel says a datagram was sent to, or
// would be answered from if that is the address of many.
func destination(oob []byte) (netip.Addr, bool) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, m := range all {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO &&
			len(m.Data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return netip.AddrFrom4(info.Spec_dst), true
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO &&
			len(m.Data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			ip := netip.AddrFrom16(info.Addr)
			return ip, !ip.IsMulticast()
		}
	}
	return netip.Addr{}, false
}

// source returns what has the kernel send a datagram from an address.
func source(ip netip.Addr) []byte {
	if ip.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: ip.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: ip.As16()})
}
