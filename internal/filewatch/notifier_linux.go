package filewatch

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// What is asked of a folder: what happens to itself, and to what is in it.
const (
	ofFolder = unix.IN_ONLYDIR | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	ofFiles  = ofFolder | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_ATTRIB | unix.IN_MODIFY | unix.IN_CLOSE_WRITE
)

// eventsBuffer is for a few hundred events; of more, the kernel keeps the rest.
const eventsBuffer = 16 << 10

// notifier asks the kernel for what happens to files: inotify(7).
type notifier struct {
	changed chan struct{} // gets something when a file may have changed
	file    *os.File      // nil where there is no inotify
	reading sync.WaitGroup

	mu      sync.Mutex // guards what follows
	folders map[int32]names
}

func newNotifier() *notifier {
	n := &notifier{changed: make(chan struct{}, 1), folders: make(map[int32]names)}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return n
	}
	n.file = os.NewFile(uintptr(fd), "inotify")
	n.reading.Go(n.read)
	return n
}

// close has the kernel tell nothing any more.
func (n *notifier) close() {
	if n.file != nil {
		_ = n.file.Close()
		n.reading.Wait()
	}
}

// watch asks for what happens to files from now on, and no others.
func (n *notifier) watch(files []string) coverage {
	if n.file == nil {
		return coversNone
	}
	var w way
	for _, path := range files {
		w.add(path)
	}
	raw, err := n.file.SyscallConn()
	if err != nil {
		return coversNone
	}
	all := coversAll
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = raw.Control(func(fd uintptr) {
		watched := make(map[int32]names)
		for folder, names := range w.folders {
			mask := uint32(ofFiles)
			if len(names) == 0 {
				mask = ofFolder
			}
			wd, err := unix.InotifyAddWatch(int(fd), folder, mask)
			switch {
			case err == unix.ENOENT, err == unix.ENOTDIR: // it has gone since, and there is an event
			case err != nil:
				all = coversNone // no memory for it, or no right to look
			case len(names) > 0 && isRemote(folder):
				all = max(all, coversLocal)
				fallthrough
			default:
				watched[int32(wd)] = names
			}
		}
		for wd := range n.folders {
			if _, ok := watched[wd]; !ok {
				_, _ = unix.InotifyRmWatch(int(fd), uint32(wd))
			}
		}
		n.folders = watched
	})
	return all
}

// read reads events until the file is closed.
func (n *notifier) read() {
	b := make([]byte, eventsBuffer)
	for {
		size, err := n.file.Read(b)
		if err != nil {
			return
		}
		if n.matters(b[:size]) {
			select {
			case n.changed <- struct{}{}:
			default: // told already
			}
		}
	}
}

// matters tells whether one of some events is of something that is watched.
//
//	event = watch (4) | mask (4) | cookie (4) | size (4) | name, padded with zeros to size
func (n *notifier) matters(events []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
		events = events[end:]
		const ofItself = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT
		watched, ok := n.folders[wd]
		if mask&unix.IN_Q_OVERFLOW != 0 ||
			ok && (mask&ofItself != 0 || slices.Contains(watched, string(name))) {
			return true
		}
	}
	return false
}

// remote are the file systems that others change without the kernel's noticing, or some of them do,
// as FUSE's: statfs(2).
var remote = []int64{
	unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC,
	unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
	unix.CEPH_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC,
	0x01161970, // GFS2
	0x0bd00bd0, // Lustre
	0x786f4256, // VirtualBox's shared folders
}

func isRemote(folder string) bool {
	var fs unix.Statfs_t
	err := unix.Statfs(folder, &fs)
	return err == nil && slices.Contains(remote, int64(uint32(fs.Type)))
}
