package wire

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// RandomDevice stands behind the address of a device that is a random one, and not the one that it
// was made with.
const RandomDevice = "/random"

const (
	deviceBytes = 6
	deviceSize  = 1 + deviceBytes            // type (1), address (6)
	deviceText  = deviceBytes*len("AA:") - 1 // AA:BB:CC:DD:EE:FF
	lastPSM     = 0xff                       // of Bluetooth Low Energy
)

// validateDevice checks the Name and the Port of a BLE address.
func validateDevice(name string, psm uint16) error {
	address := strings.TrimSuffix(name, RandomDevice)
	if len(address) != deviceText {
		return fmt.Errorf("%w: a device's address is AA:BB:CC:DD:EE:FF", ErrMalformed)
	}
	for i := range len(address) {
		if good := "0123456789ABCDEF"; i%len("AA:") == 2 {
			if address[i] != ':' {
				return fmt.Errorf("%w: a device's address is AA:BB:CC:DD:EE:FF", ErrMalformed)
			}
		} else if strings.IndexByte(good, address[i]) < 0 {
			return fmt.Errorf("%w: a device's address is of digits and the letters A to F",
				ErrMalformed)
		}
	}
	if psm == 0 || psm > lastPSM {
		return fmt.Errorf("%w: a PSM is a number from 1 to %d", ErrMalformed, lastPSM)
	}
	return nil
}

// appendDevice appends the encoding of a Name that is valid.
func appendDevice(dst []byte, name string) []byte {
	address, random := strings.CutSuffix(name, RandomDevice)
	kind := byte(0)
	if random {
		kind = 1
	}
	b, _ := hex.DecodeString(strings.ReplaceAll(address, ":", ""))
	return append(append(dst, kind), b...)
}

// deviceName is the Name of a device.
func deviceName(random bool, address []byte) string {
	var parts []string
	for _, b := range address {
		parts = append(parts, fmt.Sprintf("%02X", b))
	}
	name := strings.Join(parts, ":")
	if random {
		name += RandomDevice
	}
	return name
}
