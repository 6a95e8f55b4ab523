package noise

import (
	"crypto/ecdh"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// lowOrderPoints returns every encoding of every u-coordinate, of the curve and
// of its twist, that X25519 maps to zero.
func lowOrderPoints() [][]byte {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	us := []*big.Int{
		big.NewInt(0), // and p: order 2 (and 4 on the twist's side)
		big.NewInt(1), // and p+1: order 4
		must2(
			new(
				big.Int,
			).SetString("325606250916557431795983626356110631294008115727848805560023387167927233504", 10),
		),
		must2(
			new(
				big.Int,
			).SetString("39382357235489614581723060781553021112529911719440698176882885853963445705823", 10),
		),
		new(big.Int).Sub(p, big.NewInt(1)),
		p,
		new(big.Int).Add(p, big.NewInt(1)),
	}
	var points [][]byte
	for _, u := range us {
		b := u.FillBytes(make([]byte, KeySize))
		slices.Reverse(b)
		points = append(points, b)
		b = slices.Clone(b)
		b[KeySize-1] |= 0x80 // ignored, RFC 7748 §5
		points = append(points, b)
	}
	return points
}

func must2[T any](v T, ok bool) T {
	if !ok {
		panic("not ok")
	}
	return v
}

// An attacker sends low-order points and goes on with the zeros that a side
// which does not look would compute. Each such message is well formed, so that
// nothing but the refusal of the point can stop it.
func TestLowOrderPoints(t *testing.T) {
	s := suite(t, "Noise_XX_25519_ChaChaPoly_SHA256")
	zeros := func() []byte { return make([]byte, KeySize) }
	r := newRand(t)
	for _, point := range lowOrderPoints() {
		// e of the initiator: the responder's ee.
		_, b := newPair(s, r, nil)
		if _, _, err := b.ReadMessage(point); err != nil {
			t.Fatal(err)
		}
		m, err := b.WriteMessage(nil, nil)
		checkRefused(t, point, "message 2, ee", m, err)

		// e of the responder: the initiator's ee.
		steps := record(t, s, r, 0, 0, 0)
		attacker, victim := clone(steps[0].reader), clone(steps[1].reader)
		attacker.readForged(steps[0].message)
		attacker.ss.mixHash(point)
		attacker.ss.mixKey(zeros())
		m = must(attacker.ss.encryptAndHash(slices.Clone(point), attacker.s.PublicKey().Bytes()))
		m = must(attacker.process(tokenES, m, true))
		m = must(attacker.ss.encryptAndHash(m, nil))
		_, _, err = victim.ReadMessage(m)
		checkRefused(t, point, "message 2, ee", nil, err)

		// s of the responder: the initiator's es.
		attacker, victim = clone(steps[0].reader), clone(steps[1].reader)
		attacker.readForged(steps[0].message)
		m = must(attacker.process(tokenE, nil, true))
		m = must(attacker.process(tokenEE, m, true))
		m = must(attacker.ss.encryptAndHash(m, point))
		attacker.ss.mixKey(zeros())
		m = must(attacker.ss.encryptAndHash(m, nil))
		_, _, err = victim.ReadMessage(m)
		checkRefused(t, point, "message 2, es", nil, err)

		// s of the initiator: the responder's se.
		attacker, victim = clone(steps[1].reader), clone(steps[2].reader)
		attacker.readForged(steps[1].message)
		m = must(attacker.ss.encryptAndHash(nil, point))
		attacker.ss.mixKey(zeros())
		m = must(attacker.ss.encryptAndHash(m, nil))
		_, _, err = victim.ReadMessage(m)
		checkRefused(t, point, "message 3, se", nil, err)
	}
}

// readForged reads a genuine message, for a side that forges the next.
func (hs *HandshakeState) readForged(m []byte) {
	if _, _, err := hs.ReadMessage(m); err != nil {
		panic(err)
	}
}

func checkRefused(t *testing.T, point []byte, where string, out []byte, err error) {
	t.Helper()
	if out != nil || err == nil || errors.Is(err, ErrDecrypt) ||
		!strings.Contains(err.Error(), where) {
		t.Errorf("point %x: %x, %v; want it refused in %s", point, out, err, where)
	}
}

// The forgery above is right: with a point that is not of low order, it works.
func TestForgeryWorks(t *testing.T) {
	s := suite(t, "Noise_XX_25519_ChaChaPoly_SHA256")
	steps := record(t, s, newRand(t), 0, 0, 0)
	attacker, victim := clone(steps[1].reader), clone(steps[2].reader)
	attacker.readForged(steps[1].message)
	key := staticKey(make([]byte, KeySize))
	m := must(attacker.ss.encryptAndHash(nil, key.PublicKey().Bytes()))
	attacker.ss.mixKey(must(key.ECDH(must(ecdh.X25519().NewPublicKey(attacker.re.Bytes())))))
	m = must(attacker.ss.encryptAndHash(m, nil))
	if _, _, err := victim.ReadMessage(m); err != nil {
		t.Error(err)
	}
}
