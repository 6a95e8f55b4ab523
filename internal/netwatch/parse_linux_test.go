package netwatch

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func attribute(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// told is what the kernel says of an address of device 7 or, where another follows, of that.
func told(of uint16, flags byte, attributes ...[]byte) []byte {
	b := []byte{unix.AF_INET, 24, flags, 0}
	b = binary.NativeEndian.AppendUint32(b, 7)
	for _, a := range attributes {
		b = append(b, a...)
	}
	return question(of, 0, b)
}

func routeTo(bits byte, attributes ...[]byte) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = unix.AF_INET, bits
	for _, a := range attributes {
		b = append(b, a...)
	}
	return question(unix.RTM_NEWROUTE, 0, b)
}

// TestNoticesMatter checks what is worth a look.
func TestNoticesMatter(t *testing.T) {
	flags := func(n uint32) []byte {
		return attribute(unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, n)...)
	}
	global := attribute(unix.IFA_LOCAL, 10, 0, 0, 2)
	line := attribute(unix.IFA_LOCAL, 169, 254, 0, 2)
	both := append(told(unix.RTM_NEWADDR, 0, line), told(unix.RTM_DELADDR, 0, global)...)
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"address":               {told(unix.RTM_NEWADDR, 0, global), true},
		"address gone":          {told(unix.RTM_DELADDR, 0, global), true},
		"being tried":           {told(unix.RTM_NEWADDR, unix.IFA_F_TENTATIVE, global), true},
		"link-local":            {told(unix.RTM_NEWADDR, 0, line), false},
		"the second of two":     {both, true},
		"default route":         {routeTo(0), true},
		"half of the Internet":  {routeTo(1), true},
		"a network":             {routeTo(8), false},
		"a neighbor":            {routeTo(32), false},
		"device":                {question(unix.RTM_NEWLINK, 0, nil), true},
		"rule":                  {question(unix.RTM_NEWRULE, 0, nil), true},
		"nothing":               {nil, false},
		"not a message":         {[]byte("this is no message at all"), true},
		"an address without":    {told(unix.RTM_NEWADDR, 0, flags(1)), true},
		"a route that is short": {question(unix.RTM_NEWROUTE, 0, []byte{1}), true},
	} {
		if got := noticesMatter(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestParseAddress checks which addresses count, and which of two it is.
func TestParseAddress(t *testing.T) {
	local, far := attribute(unix.IFA_LOCAL, 10, 0, 0, 2), attribute(unix.IFA_ADDRESS, 10, 0, 0, 1)
	tentative := attribute(unix.IFA_FLAGS,
		binary.NativeEndian.AppendUint32(nil, unix.IFA_F_TENTATIVE)...)
	failed := told(unix.RTM_NEWADDR, unix.IFA_F_DADFAILED, local)
	for name, c := range map[string]struct {
		b      []byte
		want   string
		counts bool
	}{
		"of a network":    {told(unix.RTM_NEWADDR, 0, far), "10.0.0.1", true},
		"between two":     {told(unix.RTM_NEWADDR, 0, far, local), "10.0.0.2", true},
		"being tried":     {told(unix.RTM_NEWADDR, 0, local, tentative), "10.0.0.2", false},
		"somebody has it": {failed, "10.0.0.2", false},
	} {
		all, err := syscall.ParseNetlinkMessage(c.b)
		if err != nil || len(all) != 1 {
			t.Fatal(name, len(all), err)
		}
		a, ok := parseAddress(all[0])
		if !ok || a.address.String() != c.want || a.device != 7 || a.counts() != c.counts {
			t.Errorf("%s: %+v, %v", name, a, ok)
		}
	}
}

func TestParseWay(t *testing.T) {
	device := attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, 3)...)
	near, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")
	gateway := attribute(unix.RTA_GATEWAY, near.AsSlice()...)
	via := attribute(unix.RTA_VIA, append([]byte{unix.AF_INET6, 0}, other.AsSlice()...)...)
	for name, c := range map[string]struct {
		b    []byte
		want way
		ok   bool
	}{
		"gateway":   {routeTo(0, device, gateway), way{device: 3, gateway: near}, true},
		"other":     {routeTo(0, via, device), way{device: 3, gateway: other}, true},
		"direct":    {routeTo(0, device), way{device: 3}, true},
		"no device": {routeTo(0, gateway), way{}, false},
	} {
		all, _ := syscall.ParseNetlinkMessage(c.b)
		if got, ok := parseWay(all[0]); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

func TestParseError(t *testing.T) {
	for number, want := range map[int32]error{0: nil, -int32(unix.EPERM): unix.EPERM} {
		b := binary.NativeEndian.AppendUint32(nil, uint32(number))
		if err := parseError(syscall.NetlinkMessage{Data: b}); !errors.Is(err, want) {
			t.Errorf("%d: %v", number, err)
		}
	}
	if err := parseError(syscall.NetlinkMessage{}); !errors.Is(err, errShortMessage) {
		t.Error(err)
	}
}

// FuzzNotice reads whatever comes as a notice and as an answer.
func FuzzNotice(f *testing.F) {
	f.Add(told(unix.RTM_NEWADDR, 0, attribute(unix.IFA_LOCAL, 10, 0, 0, 2)))
	f.Add(routeTo(0, attribute(unix.RTA_VIA, 10), attribute(unix.RTA_OIF, 1)))
	f.Add(question(unix.RTM_NEWADDR, 0, []byte{2, 24, 0, 0, 7, 0, 0, 0, 5, 0, 2, 0, 10}))
	f.Add(question(unix.NLMSG_ERROR, 0, []byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		matters := noticesMatter(b)
		all, err := syscall.ParseNetlinkMessage(b)
		for _, m := range all {
			a, isAddress := parseAddress(m)
			if isAddress && !a.address.IsValid() {
				t.Error("an address that is none")
			}
			if isAddress && a.counts() && !matters {
				t.Error("an address counts, and does not matter")
			}
			if w, ok := parseWay(m); ok && w.device <= 0 {
				t.Error("a way without a device")
			}
			_ = parseError(m)
		}
		if err != nil && !matters {
			t.Error("what cannot be read does not matter")
		}
	})
}
