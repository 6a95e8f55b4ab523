package set

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/wire"
)

// Limits of records. A decoder checks each before it allocates.
const (
	MaxName    = wire.MaxName - len("forward_to_") // bytes of a name
	MaxRecords = 512                               // of one encoding

	// MaxRecordsSize is the most bytes of an encoding of records.
	MaxRecordsSize = recordsHeaderSize + MaxRecords*(recordSize+MaxName)

	// maxFirst is the greatest age of a first claim that is said: a good 34 years.
	maxFirst = (1<<40 - 1) * time.Millisecond
)

// Sizes of the encoding, in bytes.
const (
	recordsVersion    = 1                  // the first byte of an encoding of records
	recordsHeaderSize = 1 + 2              // that, how many records
	recordSize        = 1 + 32 + 1 + 8 + 4 // length of the name, Identifier, held, first, last
	minRecordSize     = recordSize + 1
)

// Record is what one node tells another of whose a name is. It says how long ago something was, and
// never when: nobody's clock is compared with anybody else's.
type Record struct {
	Name string
	Who  identity.Identifier

	// First is how long ago Who claimed the name first, and has not let it expire since. Last is
	// how long ago it has last been claimed or held: 0 while it is Held. Both are told in
	// milliseconds, rounded down.
	First, Last time.Duration

	// Held says that Who holds the name now, on the node that tells this.
	Held bool
}

// Validate returns an error that says what keeps r from being encoded, or nil.
func (r *Record) Validate() error {
	if err := ValidateName(r.Name); err != nil {
		return err
	}
	switch {
	case r.Who.IsZero():
		return fmt.Errorf("%w: a name that belongs to nobody", ErrMalformed)
	case r.Last < 0 || r.Last >= Lifetime || r.Held && r.Last != 0:
		return fmt.Errorf("%w: a last claim %v ago", ErrMalformed, r.Last)
	case r.First < r.Last || r.First > maxFirst:
		return fmt.Errorf("%w: a first claim %v ago", ErrMalformed, r.First)
	}
	return nil
}

// ValidateName returns an error that wraps ErrMalformed for what can be no name, or nil.
func ValidateName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("%w: a name of %d bytes", ErrMalformed, len(name))
	}
	if err := (wire.Address{Kind: wire.Service, Name: name}).Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// AppendRecords appends the encoding of at most MaxRecords records to dst. It gives an error that
// wraps ErrMalformed, and no bytes, for what ParseRecords would refuse.
func AppendRecords(dst []byte, records []Record) ([]byte, error) {
	if len(records) > MaxRecords {
		return nil, fmt.Errorf("%w: %d records at once", ErrMalformed, len(records))
	}
	dst = append(dst, recordsVersion)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(records)))
	for i := range records {
		r := &records[i]
		if err := r.Validate(); err != nil {
			return nil, err
		}
		dst = append(append(dst, byte(len(r.Name))), r.Name...)
		dst = append(append(dst, r.Who[:]...), 0)
		if r.Held {
			dst[len(dst)-1] = 1
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.First.Milliseconds()))
		dst = binary.BigEndian.AppendUint32(dst, uint32(r.Last.Milliseconds()))
	}
	return dst, nil
}

// ParseRecords decodes b, which is one whole encoding of records and shares no memory with them.
// Its errors wrap ErrMalformed.
func ParseRecords(b []byte) ([]Record, error) {
	switch {
	case len(b) < recordsHeaderSize || len(b) > MaxRecordsSize:
		return nil, fmt.Errorf("%w: records in %d bytes", ErrMalformed, len(b))
	case b[0] != recordsVersion:
		return nil, fmt.Errorf("%w: records of another version", ErrMalformed)
	}
	count := int(binary.BigEndian.Uint16(b[1:]))
	b = b[recordsHeaderSize:]
	if count > MaxRecords || count*minRecordSize > len(b) {
		return nil, fmt.Errorf("%w: %d records in %d bytes", ErrMalformed, count, len(b))
	}
	records := make([]Record, count)
	for i := range records {
		var err error
		if b, err = records[i].parse(b); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind records", ErrMalformed, len(b))
	}
	return records, nil
}

// parse takes a record off the front of b.
func (r *Record) parse(b []byte) (rest []byte, err error) {
	if len(b) < recordSize || len(b) < recordSize+int(b[0]) || int(b[0]) > MaxName {
		return nil, fmt.Errorf("%w: a record cut short, or its name too long", ErrMalformed)
	}
	name := b[1 : 1+int(b[0])]
	b = b[1+len(name):]
	r.Who = identity.Identifier(b)
	held, first, last := b[32], binary.BigEndian.Uint64(b[33:]), binary.BigEndian.Uint32(b[41:])
	if held > 1 || first > uint64(maxFirst/time.Millisecond) {
		return nil, fmt.Errorf("%w: a record out of its limits", ErrMalformed)
	}
	r.Name, r.Held = string(name), held == 1
	r.First = time.Duration(first) * time.Millisecond
	r.Last = time.Duration(last) * time.Millisecond
	return b[45:], r.Validate()
}
