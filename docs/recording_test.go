// What a recording holds, and how it is made.

package docs_test

import (
	"encoding/binary"
	"encoding/json"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/secureportal/sp/identity"
)

// recordings is where they are kept: a file a story.
const recordings = "testdata/recordings"

// recording is all that was said in one story between the second implementation and sp, on every
// link that the second implementation is an end of, and all that is needed to read it.
type recording struct {
	About  string            // what happens in the story
	People map[string]secret // of the second implementation, by Identifier
	Keys   map[string]string // sp's key files, as they are at the end of the story, by role
	Links  []*recordedLink   // in the order in which they were opened
}

// secret is an identity of the second implementation.
type secret struct {
	Seed    []byte // of its Ed25519 key
	Created int64  // seconds since 1970
}

// recordedLink is one link. Its bytes are encoded as encoding/json does it: in base64.
type recordedLink struct {
	About      string `json:",omitempty"`
	Dialer     string // who has dialed: "second" or "sp"
	Mux        *int   `json:",omitempty"` // the link of the mux that this one is a stream of
	Stream     uint32 `json:",omitempty"` // and which one
	Plain      string `json:",omitempty"` // "target" or "client": the link of an application
	Handshakes []handshakeSecrets
	Pieces     []piece
}

// handshakeSecrets is what the second implementation's side of a handshake was made from.
type handshakeSecrets struct {
	Initiator bool                // the second implementation is the initiator
	Self      identity.Identifier // who the second implementation is
	Peer      identity.Identifier // who sp is
	Name      string              // that the initiator has sent
	Survive   uint32              `json:",omitempty"` // what the second implementation has sent
	Suite     string
	Static    []byte // private X25519 key
	Ephemeral []byte // private X25519 key

	// KEM is the seed of an initiator's ML-KEM key. Of a responder it is the randomness of the
	// encapsulation: the first that there is once cryptotest.SetGlobalRandom has got Random.
	KEM    []byte
	Random uint64 `json:",omitempty"`
}

// piece is what one side says at once, as far as the other side can tell.
type piece struct {
	By    string // "second" or "sp"
	Kind  string // what it is
	Bytes []byte `json:",omitempty"` // all of it, as it went over the link

	// Said is what is encrypted in it: a handshake's payload, or the type and data of a record.
	Said []byte `json:",omitempty"`

	// Means says in words how the second implementation reads a message or a status.
	Means string `json:",omitempty"`
}

// The two sides of each link.
const (
	bySecond = "second"
	bySP     = "sp"
)

// The kinds of piece.
const (
	isMessage = "message" // an opening message
	isStatus  = "status"
	isHello   = "hello"  // of a handshake, up to its first frame
	isFrame   = "frame"  // a handshake message with its length
	isFlow    = "flow"   // the hello of a flow
	isRecord  = "record" // with its length
	isRaw     = "raw"    // what is opaque to both
	isEnd     = "end"    // of the link, as far as this side's bytes go
)

// tape records one story. A nil tape records nothing. It is safe for concurrent use.
type tape struct {
	mu        sync.Mutex
	recording recording
}

// track is the tape of one link.
type track struct {
	tape *tape
	*recordedLink
}

func newTape(about string) *tape {
	return &tape{recording: recording{
		About: about, People: make(map[string]secret), Keys: make(map[string]string),
	}}
}

// track begins a link.
func (t *tape) track(dialer string) *track {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &recordedLink{Dialer: dialer}
	t.recording.Links = append(t.recording.Links, l)
	return &track{t, l}
}

// change changes what is recorded of the link.
func (k *track) change(f func(l *recordedLink)) {
	if k == nil {
		return
	}
	k.tape.mu.Lock()
	defer k.tape.mu.Unlock()
	f(k.recordedLink)
}

func (k *track) add(by string, p piece) {
	p.By = by
	switch p.Kind {
	case isMessage:
		p.Means = meansMessage(p.Bytes)
	case isStatus:
		p.Means = meansStatus(p.Bytes)
	}
	k.change(func(l *recordedLink) { l.Pieces = append(l.Pieces, p) })
}

// handshake records the secrets of the link's next handshake.
func (k *track) handshake(s handshakeSecrets) {
	k.change(func(l *recordedLink) { l.Handshakes = append(l.Handshakes, s) })
}

// about says what the link is for.
func (k *track) about(text string) {
	k.change(func(l *recordedLink) { l.About = text })
}

// in says that the link is a stream of the mux on another one.
func (k *track) in(mux *track, stream uint32) {
	k.change(func(l *recordedLink) {
		for i, other := range k.tape.recording.Links {
			if other == mux.recordedLink {
				l.Mux, l.Stream = &i, stream
			}
		}
	})
}

// person records somebody of the second implementation, who has one key.
func (t *tape) person(p *person) {
	t.mu.Lock()
	defer t.mu.Unlock()
	created := binary.BigEndian.Uint64(p.history[1+66:])
	t.recording.People[p.identifier().String()] = secret{p.key.Seed(), int64(created)}
}

// secrets are what the handshake was made from. They are known when it is done.
func (i *initiator) secrets(name string) handshakeSecrets {
	return handshakeSecrets{
		Initiator: true, Self: i.self.identifier(), Peer: i.peer, Name: name,
		Survive: i.survive, Suite: hybrid,
		Static: i.s.Bytes(), Ephemeral: i.e.Bytes(), KEM: i.kem.Bytes(),
	}
}

func (r *responder) secrets(random uint64) handshakeSecrets {
	return handshakeSecrets{
		Self: r.self.identifier(), Peer: r.peer, Name: r.name,
		Survive: r.survive, Suite: hybrid,
		Static: r.s.Bytes(), Ephemeral: r.e.Bytes(), KEM: kemRandom(random), Random: random,
	}
}

// kemRandom is the first randomness that cryptotest.SetGlobalRandom gives.
func kemRandom(seed uint64) []byte {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	b := make([]byte, 32)
	_, _ = mathrand.NewChaCha8(s).Read(b)
	return b
}

// save writes the recording.
func (r *recording) save(t *testing.T, folder, story string) {
	t.Helper()
	check(t, os.MkdirAll(folder, 0o755))
	text, err := json.MarshalIndent(r, "", "")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(folder, story+".json"), append(text, '\n'), 0o644))
}

// load reads all recordings, by the names of their stories.
func load(t *testing.T, folder string) map[string]*recording {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	check(t, err)
	all := make(map[string]*recording)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		r := new(recording)
		check(t, json.Unmarshal(text, r))
		name := filepath.Base(file)
		all[name[:len(name)-len(".json")]] = r
	}
	return all
}
