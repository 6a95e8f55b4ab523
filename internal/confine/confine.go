// Package confine gives up what a process does not need any more once its listeners are open and
// its files are known: to open other files, to listen anew, to connect to other ports, to be traced
// or dumped by its own user, and to gain privileges by running a program.
//
// Where the system cannot do that, or not all of it, the rest is done. Linux does not limit MPTCP,
// UDP and connecting to Unix sockets. Nothing that has been opened before is taken away. The
// package starts no goroutine, and what it has done cannot be undone.
package confine

import "path/filepath"

// Needs is what a process keeps.
type Needs struct {
	// ReadIn are folders whose files are read, also those that come into them later.
	ReadIn []string
	// WriteIn are folders in which files are made, written, renamed and removed.
	WriteIn []string
	// RemoveIn are folders from which files are removed, and no more than that.
	RemoveIn []string
	// Listen are the TCP ports that are listened at again.
	Listen []uint16
	// ListenAnywhere lifts the limit to Listen.
	ListenAnywhere bool
	// Connect are the TCP ports that are connected to. Port 53 is always among them, for names.
	Connect []uint16
	// ConnectAnywhere lifts the limit to Connect: for those who do not know before where to.
	ConnectAnywhere bool
	// Roots tells that certificates are to be verified by those that the system believes. Whoever
	// asks for that reads them before: they may be in other folders.
	Roots bool
}

// MaxConnect is how many ports are told one by one; with more, connecting is not limited.
const MaxConnect = 4096

// Result says what has been done.
type Result struct {
	// Files and Ports tell whether access to files and to TCP ports is limited from now on.
	Files, Ports bool
	// Undumpable tells whether the process's memory is out of reach for its own user.
	Undumpable bool
}

// Folders returns the folders that files are in, and where the files are symbolic links those of
// what they lead to.
func Folders(files ...string) []string {
	var all []string
	for _, file := range files {
		all = append(all, filepath.Dir(file))
		if real, err := filepath.EvalSymlinks(file); err == nil {
			all = append(all, filepath.Dir(real))
		}
	}
	return all
}
