//go:build !linux

package bluetooth

// Adapters returns the radios of this machine.
func Adapters() ([]Adapter, error) { return nil, ErrElsewhere }

// Trouble returns what keeps this machine from having channels.
func Trouble() error { return ErrElsewhere }
