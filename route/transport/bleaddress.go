package transport

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/secureportal/sp/internal/bluetooth"
	"github.com/secureportal/sp/wire"
)

// Addresses over Bluetooth Low Energy. Their text has two forms, where the device is its address,
// and what stands in place of a port is a PSM:
//
//	short                              long
//	ble://AA:BB:CC:DD:EE:FF:128        /ble/AA:BB:CC:DD:EE:FF/psm/128
//	ble://AA:BB:CC:DD:EE:FF:128/random /ble/AA:BB:CC:DD:EE:FF/psm/128/random
//
// A random address is one that the device was not made with: which kind it is, nobody sees by it.
// Where to listen is an adapter of this machine: ble://:128 is any, ble://hci0:128 is one by its
// name, and by its address it may be written as well.
const (
	bleScheme  = "ble"
	randomWord = "random"
)

var validAdapter = regexp.MustCompile(`^hci[0-9]{1,3}$`)

var errBLE = errors.New("over Bluetooth an address is ble://AA:BB:CC:DD:EE:FF:PSM, with /random " +
	"behind it where the device's address is a random one")

// parseBLE reads what stands behind ble://. Where to listen may be without a device, or have the
// name of an adapter.
func parseBLE(text string) (Address, error) {
	at, kind, random := strings.Cut(text, "/")
	i := strings.LastIndexByte(at, ':')
	switch {
	case strings.Contains(text, "@"):
		return Address{}, errors.New("a user has no place in an address: NAME@ stands in front of it")
	case random && kind != randomWord, i < 0:
		return Address{}, errBLE
	case strings.Count(at, ":") == 5:
		return Address{}, fmt.Errorf("a PSM is missing: ble://%s:PSM, such as 128", Printable(at))
	}
	psm, err := parsePSM(at[i+1:], 0)
	if err != nil {
		return Address{}, err
	}
	return bleAddress(at[:i], psm, random)
}

// bleAddress returns the address of a device, or of an adapter, and of a PSM that may be 0.
func bleAddress(device string, psm uint16, random bool) (Address, error) {
	a := Address{Kind: wire.BLE, Name: device, Port: psm}
	if device == "" || validAdapter.MatchString(device) {
		if random {
			return a, errBLE
		}
		return a, nil
	}
	a.Name = strings.ToUpper(device)
	if random {
		a.Name += wire.RandomDevice
	}
	check := a
	check.Port = max(psm, 1)
	return a, Validate(check)
}

func parsePSM(text string, least uint16) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n < uint64(least) || n > bluetooth.LastPSM {
		const what = "a PSM is a number from %d to %d, not %q"
		return 0, fmt.Errorf(what, max(least, 1), bluetooth.LastPSM, Printable(text))
	}
	return uint16(n), nil
}

// bleHostMissing says that an address that is to be dialed is none of a device.
func bleHostMissing(a Address) error {
	if device, _ := bleDevice(a); device == (bluetooth.Device{}) {
		return errors.New("the address of a device is missing: ble://AA:BB:CC:DD:EE:FF:PSM, as " +
			"bluetoothctl list prints it there")
	}
	if a.Port == 0 {
		return errors.New("a PSM is a number from 1 to 255, and 0 is one that is free to listen at")
	}
	return nil
}

func formatBLE(a Address) string {
	device, random := strings.CutSuffix(a.Name, wire.RandomDevice)
	text := bleScheme + "://" + device + ":" + strconv.Itoa(int(a.Port))
	if random {
		text += wire.RandomDevice
	}
	return text
}

func formatBLEStep(a Address) string {
	device, random := strings.CutSuffix(a.Name, wire.RandomDevice)
	text := fmt.Sprintf("/%s/%s/psm/%d", bleScheme, device, a.Port)
	if random {
		text += wire.RandomDevice
	}
	return text
}

// parseBLEStep reads /ble/AA:BB:CC:DD:EE:FF/psm/PSM, and /random behind it.
func parseBLEStep(words []string) (a Address, took int, err error) {
	const psmWord = "psm"
	if took = 4; len(words) < took || words[2] != psmWord {
		const what = "/%s/%s is not followed by /psm/PSM"
		return a, len(words), fmt.Errorf(what, bleScheme, Printable(words[1]))
	}
	psm, err := parsePSM(words[3], 1)
	if err != nil {
		return a, took, err
	}
	random := len(words) > took && words[took] == randomWord
	if random {
		took++
	}
	if a, err = bleAddress(words[1], psm, random); err == nil {
		err = Validate(a) // where to listen is no step
	}
	return a, took, err
}

// bleDevice returns the device that an address is of. It reports false if that is the name of an
// adapter.
func bleDevice(a Address) (device bluetooth.Device, ok bool) {
	name, random := strings.CutSuffix(a.Name, wire.RandomDevice)
	if name == "" {
		return device, true
	}
	parts := strings.Split(name, ":")
	if len(parts) != len(device.Address) {
		return device, false
	}
	for i, part := range parts {
		b, err := strconv.ParseUint(part, 16, 8)
		if err != nil {
			return bluetooth.Device{}, false
		}
		device.Address[i] = byte(b)
	}
	device.Random = random
	return device, true
}

// atRadio returns the address of where a channel ends.
func atRadio(at bluetooth.At) Address {
	a := Address{Kind: wire.BLE, Port: at.PSM}
	if at.Address != (bluetooth.Address{}) {
		a.Name = at.Address.String()
	}
	if at.Random {
		a.Name += wire.RandomDevice
	}
	return a
}
