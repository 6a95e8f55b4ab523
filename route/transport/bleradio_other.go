//go:build !linux

package transport

import (
	"context"

	"github.com/secureportal/sp/internal/bluetooth"
)

func dialRadio(context.Context, Config, Address) (radio, error) {
	return nil, bluetooth.ErrElsewhere
}

func listenRadio(Config, Address) (radioListener, error) { return nil, bluetooth.ErrElsewhere }
