package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/internal/atomicfile"
)

const lifeCategory = "Life"

// maxLifeFile is more than a file of one line has, with all routes that there may be.
const maxLifeFile = 1 << 20

// lifeFlags are those of a role that concern how others find out about its process.
func lifeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{
			Name: "background", Category: lifeCategory,
			Usage: "return when it is ready, and let it go on: stderr stays its log, as ssh -f has it; " +
				"if it is not ready, the exit code says why",
		},
		&cli.StringFlag{
			Name: "pid-file", Category: lifeCategory, TakesFile: true,
			Usage: "write the number of the process to `FILE`, which is removed at its end",
		},
		&cli.StringFlag{
			Name: "ready-file", Category: lifeCategory, TakesFile: true,
			Usage: "write the line that says that it is ready to `FILE`, too, which is removed at its end",
		},
	}
}

// idleFlag is of those that have connections of applications.
func idleFlag() cli.Flag {
	return &cli.DurationFlag{
		Name: "idle-exit", Category: lifeCategory,
		Usage: "end when no connection has been open for so long", DefaultText: "never",
	}
}

// lifeFiles are the files of a role's process. They are safe for concurrent use.
type lifeFiles struct {
	pid, ready string // paths; empty if there is none

	mu      sync.Mutex
	written fs.FileInfo // the ready file as this process has written it; nil if it has not
}

// newLifeFiles are those that the flags of a command name, if it has such flags.
func newLifeFiles(c *cli.Context) *lifeFiles {
	return &lifeFiles{pid: c.String("pid-file"), ready: c.String("ready-file")}
}

// paths are those that there are.
func (f *lifeFiles) paths() (all []string) {
	for _, path := range []string{f.pid, f.ready} {
		if path != "" {
			all = append(all, path)
		}
	}
	return all
}

// begin writes the one file, and makes sure that the other can be written later. One that somebody
// has left there who was killed is removed.
func (f *lifeFiles) begin() error {
	if f.ready != "" {
		err := atomicfile.CheckReplaceable(f.ready)
		if err == nil {
			err = os.Remove(f.ready)
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = atomicfile.Try(f.ready)
		}
		if err != nil {
			return fmt.Errorf("ready file %s: %w", f.ready, atomicfile.WithoutPath(err))
		}
	}
	if f.pid == "" {
		return nil
	}
	if err := atomicfile.ReplaceOpen(f.pid, ownNumber()); err != nil {
		return fmt.Errorf("pid file %s: %w", f.pid, atomicfile.WithoutPath(err))
	}
	return nil
}

func ownNumber() []byte { return []byte(strconv.Itoa(os.Getpid()) + "\n") }

// sayReady writes the ready file, if there is one.
func (f *lifeFiles) sayReady(line string) error {
	if f.ready == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := atomicfile.ReplaceOpen(f.ready, []byte(line+"\n"))
	if err == nil {
		f.written, err = os.Stat(f.ready)
	}
	return err
}

// end removes the files, but for those of another process that has taken this one's place.
func (f *lifeFiles) end() {
	f.mu.Lock()
	written := f.written
	f.mu.Unlock()
	if now, err := os.Stat(f.ready); err == nil && written != nil && os.SameFile(now, written) &&
		now.ModTime().Equal(written.ModTime()) { // a file may have the number of one that is gone
		_ = os.Remove(f.ready)
	}
	if f.pid == "" {
		return
	}
	if text, _, err := atomicfile.Read(f.pid, maxLifeFile); err == nil &&
		bytes.Equal(text, ownNumber()) {
		_ = os.Remove(f.pid)
	}
}

// sayReady says that a role is ready, with its lines of results to w, and in its file.
func (c *call) sayReady(w io.Writer, o daemon.Options, line string) {
	if err := c.life.sayReady(line); err != nil {
		o.Logger.Error("the ready file cannot be written", "file", c.life.ready, "error", err)
	}
	say(w, "%s", line)
	if c.process.inBackground {
		say(w, "") // there are no more: see runInBackground
	}
}
