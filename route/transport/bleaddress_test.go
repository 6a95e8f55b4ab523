package transport

import (
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/bluetooth"
	"github.com/secureportal/sp/route/admission"
)

// What is printed of an address over Bluetooth can be read again, in both forms and as bytes.
func TestBLE(t *testing.T) {
	for text, want := range map[string]struct{ short, long string }{
		"ble://AA:BB:CC:DD:EE:FF:128": {
			"ble://AA:BB:CC:DD:EE:FF:128", "/ble/AA:BB:CC:DD:EE:FF/psm/128",
		},
		"BLE://0a:bb:cc:dd:ee:ff:255/random": {
			"ble://0A:BB:CC:DD:EE:FF:255/random", "/ble/0A:BB:CC:DD:EE:FF/psm/255/random",
		},
	} {
		a := readsAgain(t, text, want.short, want.long)
		device, ok := bleDevice(a)
		if !ok || atRadio(bluetooth.At{Device: device, PSM: a.Port}) != a {
			t.Errorf("%s: the device is %v", text, device)
		}
	}
}

func TestBLEErrors(t *testing.T) {
	for text, says := range map[string]string{
		"ble://":                             "ble://AA:BB:CC:DD:EE:FF:PSM",
		"ble://:128":                         "the address of a device is missing",
		"ble://hci0:128":                     "the address of a device is missing",
		"ble://AA:BB:CC:DD:EE:FF":            "a PSM is missing",
		"ble://AA:BB:CC:DD:EE:FF:0":          "a PSM is a number from 1 to 255",
		"ble://AA:BB:CC:DD:EE:FF:256":        "a PSM is a number",
		"ble://AA:BB:CC:DD:EE:GG:128":        "of digits and the letters",
		"ble://AA-BB-CC-DD-EE-FF:128":        "AA:BB:CC:DD:EE:FF",
		"ble://me@AA:BB:CC:DD:EE:FF:128":     "NAME@ stands in front",
		"ble://AA:BB:CC:DD:EE:FF:128/public": "/random",
	} {
		a, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v, want %q", text, a, err, says)
		}
	}
	for _, words := range []string{
		"ble/AA:BB:CC:DD:EE:FF", "ble/AA:BB:CC:DD:EE:FF/tcp/128", "ble/hci0/psm/128",
		"ble/AA:BB:CC:DD:EE:FF/psm/0", "ble/AA:BB:CC:DD:EE:FF/psm/256", "ble/x/psm/128",
	} {
		if a, _, err := ParseStep(strings.Split(words, "/")); err == nil {
			t.Errorf("%s is %v", words, a)
		}
	}
	if _, err := ParseTarget("ble://AA:BB:CC:DD:EE:FF:128", ""); err == nil {
		t.Error("a service is reached over Bluetooth")
	}
}

// Where to listen is an adapter, or any.
func TestBLEListen(t *testing.T) {
	for text, everywhere := range map[string]bool{
		"ble://:128": true, "ble://:0": true, "ble://hci1:128": false,
		"ble://AA:BB:CC:DD:EE:FF:0": false,
	} {
		a, err := ParseListen(text, "localhost")
		if err != nil || Format(a) != text || IsEverywhere(a) != everywhere {
			t.Errorf("%s: %s, %v", text, Format(a), err)
		}
	}
}

// A bridge takes a device for that one and no other.
func TestBLEPattern(t *testing.T) {
	p, err := ParsePattern("ble://aa:bb:cc:dd:ee:ff:128")
	if err != nil || !p.ByRadio() {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"ble://AA:BB:CC:DD:EE:FF:128": true, "ble://AA:BB:CC:DD:EE:FF:129": false,
		"ble://AA:BB:CC:DD:EE:FF:128/random": false, "ble://AA:BB:CC:DD:EE:FE:128": false,
		"host:128": false,
	} {
		a, err := Parse(text)
		if err != nil || p.Matches(a) != want {
			t.Errorf("%s: %v, %v", text, !want, err)
		}
	}
}

// Devices are sources of their own, and those with addresses that anybody makes are one.
func TestBLESource(t *testing.T) {
	of := func(last byte, random bool) admission.Source {
		device := bluetooth.Device{Address: bluetooth.Address{5: last}, Random: random}
		return new(ble).Source(atRadioEnd(bluetooth.At{Device: device}))
	}
	if of(1, false) == of(2, false) || of(1, true) != of(2, true) || of(1, true) == of(1, false) ||
		of(1, true) == (admission.Source{}) {
		t.Error("sources are not told apart")
	}
}
