package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/secureportal/sp/internal/linequeue"
)

// logFileMode is that of a log file that is made. Who else may read it, its folder's owner says.
const logFileMode = 0o600

// logFile is a log in a file, which may be opened anew: whoever rotates logs has moved it away. It
// is safe for concurrent use.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.reopen()
}

// reopen opens the file by its name. If that cannot be done, the one that is open stays.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, logFileMode)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file = f
	return nil
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.file.Close()
}

// loggerOf returns the logger that the flags ask for: to stderr, or through a queue to the file
// that --log-file names, which is opened anew on SIGUSR1.
func loggerOf(c *call) (*slog.Logger, error) {
	format, level := c.text("log-format"), c.text("log-level")
	inFile := c.has("log-file")
	if format == "" {
		format = "text"
		if c.process.terminal && !inFile {
			format = "people"
		}
	}
	if !inFile {
		return newLogger(format, level, c.stderr)
	}
	if _, err := newLogger(format, level, io.Discard); err != nil {
		return nil, err // before a file is made
	}
	file, err := openLogFile(c.text("log-file"))
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	queue := linequeue.New(file, linequeue.Config{})
	logger, err := newLogger(format, level, queue)
	ignore := onReopen(func() {
		if err := file.reopen(); err != nil {
			logger.Error("the log file is not opened anew, and the old one is kept", "error", err)
		}
	})
	c.process.atEnd = append(c.process.atEnd, func() {
		ignore()
		if queue.Close(lastWords) {
			file.close()
		}
	})
	return logger, err
}
