package atomicfile

import (
	"errors"
	"io/fs"
)

// ErrOthersWrite refuses a file that decides something, because somebody who is neither the
// system's administrator nor this user could change it or put another in its place.
var ErrOthersWrite = errors.New("others can change it")

// A file that decides is one whose writer is trusted: a list of whom to trust, what is known of
// them, a key. One rule is for all of them, on systems where files have owners and modes:
//
//   - the file, and every folder and symbolic link on the way to it, belongs to root or to the
//     user of this process;
//   - neither the file nor any of the folders can be written by the group or by others.
//
// There are two exceptions. A folder with the sticky bit, such as /tmp, may be written by
// everybody: nobody can rename or remove there what is not theirs, and what is on the way is
// ours or root's. So may a folder on a file system that is mounted read-only, as Kubernetes
// mounts its volumes. In a user namespace a folder may belong to somebody who has no number
// there: nobody can tell who that is.
//
// On Windows the same is asked of the access control list of the file alone: nothing in it may
// let everybody, all users, guests or anonymous logons write.

// ReadDeciding is Read for a file that decides, which has to pass [CheckDeciding]. The file that
// counts is the one that was read, as it was then: another one may have its name by now, or it
// another mode.
func ReadDeciding(path string, limit int64) ([]byte, fs.FileInfo, error) {
	b, info, err := Read(path, limit)
	if err == nil {
		err = checkInfo(path, info)
	}
	if err == nil {
		err = CheckDeciding(path)
	}
	if err != nil {
		return nil, nil, err
	}
	return b, info, nil
}
