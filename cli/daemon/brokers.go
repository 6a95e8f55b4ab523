package daemon

import (
	"fmt"
	"path/filepath"

	"github.com/secureportal/sp/internal/brokers"
	"github.com/secureportal/sp/internal/textfile"
)

// readBrokers reads how to log in at brokers, and returns the files that it takes as well: path and
// those that it names, which stand in its folder unless they say otherwise. All may hold secrets.
// Without a path there is nothing.
func readBrokers(path string) (all *brokers.Logins, files []string, err error) {
	if path == "" {
		return nil, nil, nil
	}
	files = []string{path}
	text, err := textfile.Read(path)
	if err == nil {
		all, err = brokers.Parse(text, func(named string) ([]byte, error) {
			if !filepath.IsAbs(named) {
				named = filepath.Join(filepath.Dir(path), named)
			}
			files = append(files, named)
			text, err := textfile.Read(named)
			return []byte(text), err
		})
	}
	if err != nil {
		return nil, files, fmt.Errorf("file of brokers %s: %w", path, err)
	}
	return all, files, nil
}
