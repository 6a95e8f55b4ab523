//go:build unix

package netio

import (
	"errors"
	"io"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

func TestWriteReady(t *testing.T) {
	for name, test := range map[string]struct {
		before func(b *Socket) error
		want   string
		after  func(error) bool // of a read that follows
	}{
		"nothing": {
			func(*Socket) error { return nil }, "",
			func(error) bool { panic("it would wait") },
		},
		"data": {
			func(b *Socket) error {
				_, err := b.Write([]byte("hello"))
				return errors.Join(err, b.CloseWrite())
			}, "hello",
			func(err error) bool { return err == io.EOF },
		},
		"end": {
			(*Socket).CloseWrite, "",
			func(err error) bool { return err == io.EOF },
		},
		"reset": {
			(*Socket).Reset, "",
			IsReset, // which the kernel has told already
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := socketPair(t, "tcp")
			if err := test.before(b); err != nil {
				t.Fatal(err)
			}
			if name != "nothing" {
				testkit.Eventually(t, "arriving", func() bool { return !a.Quiet() })
			}
			if name == "reset" { // Quiet was told; another one for WriteReady
				a, b = socketPair(t, "tcp")
				_ = b.Reset()
			}
			var dst written
			if n, err := WriteReady(&dst, a); err != nil || n != len(test.want) || len(dst.calls) != 1 ||
				dst.calls[0] != test.want {
				t.Fatalf("wrote %q, %v, want one call of %q", dst.calls, err, test.want)
			}
			if name == "nothing" {
				return
			}
			for range 2 {
				if _, err := a.ReadLazy(newSlots(1)); !test.after(err) {
					t.Errorf("ReadLazy after it: %v", err)
				}
				if _, err := a.Read(make([]byte, 1)); !test.after(err) {
					t.Errorf("Read after it: %v", err)
				}
			}
		})
	}
	t.Run("error", func(t *testing.T) {
		a, _ := socketPair(t, "tcp")
		dst := written{err: io.ErrClosedPipe}
		if _, err := WriteReady(&dst, a); err != io.ErrClosedPipe {
			t.Errorf("got %v", err)
		}
	})
}

func TestQuiet(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			if !Quiet(a) {
				t.Error("not quiet, with nothing to read")
			}
			testkit.Write(t, b, "x")
			testkit.Eventually(t, "data", func() bool { return !Quiet(a) })
			testkit.Expect(t, a, "x")
			if !Quiet(a) {
				t.Error("not quiet after all was read")
			}
			_ = b.CloseWrite()
			testkit.Eventually(t, "the end", func() bool { return !Quiet(a) })
			_ = a.Close()
			if Quiet(a) {
				t.Error("quiet, and closed")
			}
		})
	}
	a, b := socketPair(t, "tcp")
	_ = b.Reset()
	testkit.Eventually(t, "the reset", func() bool { return !Quiet(a) })
}
