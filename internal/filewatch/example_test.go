package filewatch_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/secureportal/sp/internal/filewatch"
)

// presented is a file with a word that a node presents: it stays in force until there is
// another good one.
type presented struct {
	file *filewatch.File
	word string
}

// refresh reads the file if it may have changed, or must be read, as on SIGHUP. It reports
// whether there is another word, and an error that is worth logging.
func (p *presented) refresh(must bool) (changed bool, err error) {
	if !p.file.Changed() && !must {
		return false, nil
	}
	word, err := readWord(p.file.Path())
	if err != nil {
		p.file.Again() // even if nothing about it changes, as when its mode was wrong
		if must {
			return false, p.file.Once(err)
		}
		return false, p.file.Twice(err)
	}
	changed = word != p.word
	p.word = word
	return changed, p.file.Once(nil)
}

func readWord(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	words := strings.Fields(string(b))
	if len(words) != 1 {
		return "", fmt.Errorf("it has %d words, want 1", len(words))
	}
	return words[0], nil
}

// What a node presents of itself is read again at every [filewatch.Interval].
func Example() {
	dir, err := os.MkdirTemp("", "filewatch")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "credential")
	p := presented{file: filewatch.New(path)}
	for _, content := range []string{
		"first\n", "second\n", "third is spoilt\n", "third is spoilt\n", "third",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			log.Fatal(err)
		}
		changed, err := p.refresh(false)
		fmt.Printf("%s, changed %v, error %v\n", p.word, changed, err)
	}

	// Output:
	// first, changed true, error <nil>
	// second, changed true, error <nil>
	// second, changed false, error <nil>
	// second, changed false, error it has 3 words, want 1
	// third, changed true, error <nil>
}
