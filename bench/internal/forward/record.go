//go:build linux

package forward

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// A record on the wire: length (2) | AES-256-GCM(data) | tag (16). Length is that
// of what follows it. The nonce counts records and is not sent.
const (
	keySize    = 32 // as sp's suite has it (Noise §12.4): a shorter key seals faster
	lengthSize = 2
	tagSize    = 16
	dataSize   = 1<<16 - 1 - tagSize // the most that one record carries
	recordSize = lengthSize + dataSize + tagSize
)

var errLength = errors.New("record shorter than its tag")

// A recordCipher is one direction of a connection.
type recordCipher struct {
	aead  cipher.AEAD
	nonce [12]byte
	count uint64
}

// newRecordCipher has a key of zeros: what it costs does not depend on the key.
func newRecordCipher() recordCipher {
	block, err := aes.NewCipher(make([]byte, keySize))
	if err != nil {
		panic(err) // the length is a constant
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return recordCipher{aead: aead}
}

func (c *recordCipher) next() []byte {
	binary.BigEndian.PutUint64(c.nonce[4:], c.count)
	c.count++
	return c.nonce[:]
}

// seal encrypts the n bytes behind the record's room for its length in place.
func (c *recordCipher) seal(record []byte, n int) {
	binary.BigEndian.PutUint16(record, uint16(n+tagSize))
	c.aead.Seal(record[lengthSize:lengthSize], c.next(), record[lengthSize:lengthSize+n], nil)
}

// open decrypts what follows a record's length in place.
func (c *recordCipher) open(body []byte) ([]byte, error) {
	return c.aead.Open(body[:0], c.next(), body, nil)
}

// sealed reads what up to batch records hold with one system call, encrypts it where
// it is, and writes the records with another.
func sealed(batch int) direction {
	pool := recordPool(batch)
	return func(dst, src *net.TCPConn) error {
		buf := pool.Get().(*[]byte)
		defer pool.Put(buf)
		c := newRecordCipher()
		r, err := newVectorReader(src, dataParts(*buf))
		if err != nil {
			return err
		}
		for {
			n, err := r.read()
			if err != nil || n == 0 {
				return err
			}
			end := 0
			for n > 0 {
				m := min(n, dataSize)
				c.seal((*buf)[end:], m)
				end += lengthSize + m + tagSize
				n -= m
			}
			if _, err := dst.Write((*buf)[:end]); err != nil {
				return err
			}
		}
	}
}

// opened reads as much as there is, decrypts the whole records in it where they
// are, and writes them with one system call.
func opened(batch int) direction {
	pool := recordPool(batch)
	return func(dst, src *net.TCPConn) error {
		buf := pool.Get().(*[]byte)
		defer pool.Put(buf)
		c := newRecordCipher()
		held := 0
		plain := make(net.Buffers, 0, batch)
		for {
			n, err := src.Read((*buf)[held:])
			held += n
			used, records, openErr := c.openAll((*buf)[:held], plain)
			if openErr != nil {
				return openErr
			}
			if len(records) > 0 {
				if _, err := records.WriteTo(dst); err != nil {
					return err
				}
			}
			held = copy(*buf, (*buf)[used:held])
			if err == io.EOF && held > 0 {
				return io.ErrUnexpectedEOF
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// openAll opens the whole records in b, adds them to plain, and says how much of
// b they took.
func (c *recordCipher) openAll(
	b []byte, plain net.Buffers,
) (used int, records net.Buffers, err error) {
	for len(b)-used >= lengthSize {
		n := int(binary.BigEndian.Uint16(b[used:]))
		if n < tagSize {
			return used, plain, errLength
		}
		if len(b)-used < lengthSize+n {
			break
		}
		data, err := c.open(b[used+lengthSize : used+lengthSize+n])
		if err != nil {
			return used, plain, err
		}
		plain = append(plain, data)
		used += lengthSize + n
	}
	return used, plain, nil
}

func recordPool(batch int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, batch*recordSize); return &b }}
}

// dataParts are the parts of a buffer of records that hold data.
func dataParts(buf []byte) [][]byte {
	var p [][]byte
	for ; len(buf) >= recordSize; buf = buf[recordSize:] {
		p = append(p, buf[lengthSize:lengthSize+dataSize])
	}
	return p
}
