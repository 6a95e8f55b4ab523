package netwatch

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The questions that are asked of rtnetlink(7): for all addresses, and for the way to one.
//
//	question = header (16) | rtmsg (12) or ifaddrmsg (8) | attributes

// askTimeout is for an answer. The kernel answers before it has taken the question, so that only
// a fault waits.
const askTimeout = time.Second

// answerBuffer holds one datagram of an answer: the kernel makes none that is bigger.
const answerBuffer = 32 << 10

// askNetwork returns what the network is.
func askNetwork() (view, error) {
	var v view
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return v, err
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(askTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return v, err
	}
	err = ask(fd, addressesQuestion(), func(m syscall.NetlinkMessage) {
		if a, ok := parseAddress(m); ok && a.counts() {
			v.addresses = append(v.addresses, a.address)
		}
	})
	if err != nil {
		return v, err
	}
	for _, f := range families {
		// An error is the kernel's answer that there is no way.
		_ = ask(fd, wayQuestion(f.internet), func(m syscall.NetlinkMessage) {
			if w, ok := parseWay(m); ok {
				w.family = f.name
				v.ways = append(v.ways, w)
			}
		})
	}
	return v, nil
}

// ask sends a question, and has each message of the answer heard.
func ask(fd int, question []byte, hear func(syscall.NetlinkMessage)) error {
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, question, 0, to); err != nil {
		return err
	}
	isDump := binary.NativeEndian.Uint16(question[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	b := make([]byte, answerBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return err
		}
		all, err := syscall.ParseNetlinkMessage(b[:n])
		if err != nil {
			return err
		}
		for _, m := range all {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return parseError(m)
			}
			hear(m)
			if !isDump {
				return nil
			}
		}
	}
}

func addressesQuestion() []byte {
	return question(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
}

func wayQuestion(to netip.Addr) []byte {
	family := byte(unix.AF_INET)
	if to.Is6() {
		family = unix.AF_INET6
	}
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[1] = family, byte(to.BitLen())
	raw := to.AsSlice()
	body = binary.NativeEndian.AppendUint16(body, uint16(unix.SizeofRtAttr+len(raw)))
	body = binary.NativeEndian.AppendUint16(body, unix.RTA_DST)
	return question(unix.RTM_GETROUTE, 0, append(body, raw...))
}

// question returns a message: its length, type, flags, number and sender, and its body.
func question(of, flags uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, of)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, 1)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, body...)
}
