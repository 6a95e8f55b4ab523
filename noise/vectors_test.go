package noise

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	flynnModule = "github.com/flynn/noise@v1.1.0"
	flynnSum    = "h1:KjPQoQCEFdZDiP03phOvGi11+SVVhBG2wOWAorLsstg="
)

// vector is a whole conversation with fixed keys.
type vector struct {
	Name          string `json:"protocol_name"`
	InitPrologue  string `json:"init_prologue"`
	InitStatic    string `json:"init_static"`
	InitEphemeral string `json:"init_ephemeral"`
	RespPrologue  string `json:"resp_prologue"`
	RespStatic    string `json:"resp_static"`
	RespEphemeral string `json:"resp_ephemeral"`
	Hash          string `json:"handshake_hash"`
	Messages      []struct{ Payload, Ciphertext string }

	// firstTransport is the role that sends the message after the handshake: 0
	// for the initiator.
	firstTransport int
}

// run plays both roles. It compares each message written, then reads it.
func (v vector) run(t *testing.T) {
	s := suite(t, v.Name)
	hs := []*HandshakeState{
		must(NewHandshakeState(Config{
			Suite: s, Initiator: true, Prologue: unhex(v.InitPrologue),
			Static: staticKey(unhex(v.InitStatic)), Random: bytes.NewReader(unhex(v.InitEphemeral)),
		})),
		must(NewHandshakeState(Config{
			Suite: s, Prologue: unhex(v.RespPrologue),
			Static: staticKey(unhex(v.RespStatic)), Random: bytes.NewReader(unhex(v.RespEphemeral)),
		})),
	}
	for i, m := range v.Messages[:3] {
		runHandshakeMessage(t, hs[i%2], hs[1-i%2], m.Payload, m.Ciphertext)
	}
	for _, h := range hs {
		if got := fmt.Sprintf("%x", h.HandshakeHash()); v.Hash != "" && got != v.Hash {
			t.Errorf("handshake hash %s, want %s", got, v.Hash)
		}
	}
	if !bytes.Equal(hs[0].PeerStatic().Bytes(), staticKey(unhex(v.RespStatic)).PublicKey().Bytes()) ||
		!bytes.Equal(hs[1].PeerStatic().Bytes(), staticKey(unhex(v.InitStatic)).PublicKey().Bytes()) {
		t.Error("wrong static key of the peer")
	}
	var send, receive [2]*CipherState
	for i, h := range hs {
		var err error
		if send[i], receive[i], err = h.Split(); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range v.Messages[3:] {
		from := (i + v.firstTransport) % 2
		c, err := send[from].EncryptWithAd(nil, nil, unhex(m.Payload))
		if err != nil || fmt.Sprintf("%x", c) != m.Ciphertext {
			t.Fatalf("transport message %d: %x, %v; want %s", i, c, err, m.Ciphertext)
		}
		p, err := receive[1-from].DecryptWithAd(nil, nil, c)
		if err != nil || fmt.Sprintf("%x", p) != m.Payload {
			t.Fatalf("transport message %d: payload %x, %v; want %s", i, p, err, m.Payload)
		}
	}
}

func runHandshakeMessage(t *testing.T, w, r *HandshakeState, payload, ciphertext string) {
	t.Helper()
	var signed []byte
	m, err := w.WriteMessage(nil, func(h []byte) ([]byte, error) {
		signed = h
		return unhex(payload), nil
	})
	if err != nil || fmt.Sprintf("%x", m) != ciphertext {
		t.Fatalf("message %d: %x, %v; want %s", w.next, m, err, ciphertext)
	}
	p, h, err := r.ReadMessage(m)
	if err != nil || fmt.Sprintf("%x", p) != payload {
		t.Fatalf("message %d: payload %x, %v; want %s", w.next, p, err, payload)
	}
	if !bytes.Equal(h, signed) {
		t.Fatalf("message %d: reader's hash %x, writer's %x", w.next, h, signed)
	}
}

func TestVectorsCacophony(t *testing.T) {
	var file struct{ Vectors []vector }
	vectorFile(t, "xx-25519-subset.json", &file)
	n := 0
	for _, v := range file.Vectors {
		if strings.Contains(v.Name, "psk") {
			continue
		}
		n++
		v.firstTransport = 1 // turns go on as in the handshake
		t.Run(v.Name, v.run)
	}
	if n != 8 {
		t.Errorf("%d XX vectors, want 8", n)
	}
}

// Snow's other XX vectors are of algorithms or modifiers that there are none of here.
func TestVectorsSnow(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "snow-xx-25519.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if n := len(file.Vectors); n != 8 {
		t.Errorf("%d XX vectors, want 8", n)
	}
	for _, v := range file.Vectors {
		v.firstTransport = 1 // turns go on as in the handshake
		t.Run(v.Name, v.run)
	}
}

func TestVectorsFlynn(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(moduleDir(t, flynnModule, flynnSum), "vectors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for block := range strings.SplitSeq(string(data), "\n\n") {
		v := parseFlynn(t, block)
		if !strings.HasPrefix(v.Name, "Noise_XX_25519_") {
			continue
		}
		n++
		t.Run(sub("%s/%d", v.Name, n), v.run)
	}
	if n != 32 {
		t.Errorf("%d XX vectors, want 32", n)
	}
}

func sub(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// parseFlynn reads one block of key=value lines.
func parseFlynn(t *testing.T, block string) vector {
	var v vector
	var payload string
	for line := range strings.Lines(block) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case key == "handshake":
			v.Name = value
		case key == "init_static":
			v.InitStatic = value
		case key == "resp_static":
			v.RespStatic = value
		case key == "gen_init_ephemeral":
			v.InitEphemeral = value
		case key == "gen_resp_ephemeral":
			v.RespEphemeral = value
		case key == "prologue":
			v.InitPrologue, v.RespPrologue = value, value
		case strings.HasSuffix(key, "_payload"):
			payload = value
		case strings.HasSuffix(key, "_ciphertext"):
			v.Messages = append(v.Messages, struct{ Payload, Ciphertext string }{payload, value})
		case strings.HasPrefix(v.Name, "Noise_XX_"):
			t.Fatalf("unknown line %q", line)
		}
	}
	return v
}

// fixedEncapsulation is the KEM with the randomness that a vector asks for.
func fixedEncapsulation(m []byte) func(*mlkem.EncapsulationKey768) ([]byte, []byte) {
	return func(ek *mlkem.EncapsulationKey768) (sharedKey, ciphertext []byte) {
		sharedKey, ciphertext, err := mlkemtest.Encapsulate768(ek, m)
		if err != nil {
			panic(err)
		}
		return sharedKey, ciphertext
	}
}

func TestVectorsHybrid(t *testing.T) {
	type hybrid struct {
		InitStatic    string `json:"init_static"`
		InitEphemeral string `json:"init_ephemeral"`
		InitSeed      string `json:"init_kem_seed_d_z"`
		RespStatic    string `json:"resp_static"`
		RespEphemeral string `json:"resp_ephemeral"`
		RespM         string `json:"resp_encaps_m"`
		Prologue      string `json:"prologue"`
		MsgA          string `json:"msg_a"`
		MsgB          string `json:"msg_b"`
		MsgC          string `json:"msg_c"`
		Hash          string `json:"handshake_hash"`
		K1            string `json:"cs1_k"`
		K2            string `json:"cs2_k"`
	}
	var file struct {
		Protocol string
		Vectors  []hybrid
	}
	vectorFile(t, "xxhfs-mlkem768.json", &file)
	if len(file.Vectors) != 5 {
		t.Errorf("%d vectors, want 5", len(file.Vectors))
	}
	s := suite(t, file.Protocol)
	for i, v := range file.Vectors {
		t.Run(sub("%d", i+1), func(t *testing.T) {
			initiator := must(NewHandshakeState(Config{
				Suite: s, Initiator: true, Prologue: unhex(v.Prologue),
				Static: staticKey(
					unhex(v.InitStatic),
				), Random: bytes.NewReader(unhex(v.InitEphemeral + v.InitSeed)),
			}))
			responder := must(NewHandshakeState(Config{
				Suite: s, Prologue: unhex(v.Prologue),
				Static: staticKey(unhex(v.RespStatic)), Random: bytes.NewReader(unhex(v.RespEphemeral)),
			}))
			responder.encapsulate = fixedEncapsulation(unhex(v.RespM))

			runHandshakeMessage(t, initiator, responder, "", v.MsgA)
			runHandshakeMessage(t, responder, initiator, "", v.MsgB)
			runHandshakeMessage(t, initiator, responder, "", v.MsgC)
			for _, hs := range []*HandshakeState{initiator, responder} {
				if got := fmt.Sprintf("%x", hs.HandshakeHash()); got != v.Hash {
					t.Errorf("handshake hash %s, want %s", got, v.Hash)
				}
			}
			send, receive, err := initiator.Split()
			if err != nil {
				t.Fatal(err)
			}
			sameKey(t, send, newCipherState(s.cipher, unhex(v.K1)))
			sameKey(t, receive, newCipherState(s.cipher, unhex(v.K2)))
		})
	}
}

// sameKey checks that what a encrypts, b decrypts. It advances both.
func sameKey(t *testing.T, a, b *CipherState) {
	t.Helper()
	c, err := a.EncryptWithAd(nil, []byte("ad"), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := b.DecryptWithAd(nil, []byte("ad"), c); err != nil || string(p) != "text" {
		t.Errorf("keys differ: %q, %v", p, err)
	}
}
