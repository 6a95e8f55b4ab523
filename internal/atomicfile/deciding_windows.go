package atomicfile

import (
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Rights in an entry of an access control list, as winnt.h has them.
const (
	rightsToRead  = windows.FILE_READ_DATA | windows.GENERIC_READ | windows.GENERIC_ALL
	rightsToWrite = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.DELETE |
		windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL
)

// many are the groups that somebody who is not known to this user may be in.
var many = []windows.WELL_KNOWN_SID_TYPE{
	windows.WinWorldSid, windows.WinAnonymousSid, windows.WinAuthenticatedUserSid,
	windows.WinBuiltinUsersSid, windows.WinBuiltinGuestsSid,
}

// CheckDeciding tells why the file or folder at path must not decide anything, with
// [ErrOthersWrite], or returns nil. What is not there passes.
func CheckDeciding(path string) error {
	if who := whoMay(rightsToWrite, path); who != "" {
		return fmt.Errorf("%w: %s may write %s: take that away with icacls",
			ErrOthersWrite, who, path)
	}
	return nil
}

// CheckPrivate refuses a file that everybody, all users or guests may read or write, with
// [ErrNotPrivate].
func CheckPrivate(path string, _ fs.FileInfo) error {
	if who := whoMay(rightsToRead|rightsToWrite, path); who != "" {
		return fmt.Errorf("%w: %s may use it: "+
			"run \"icacls %s /inheritance:r /grant:r %%USERNAME%%:F\"", ErrNotPrivate, who, path)
	}
	return nil
}

// whoMay returns which of the many has one of some rights to a file, or "". A list that cannot be
// read says nothing.
func whoMay(rights windows.ACCESS_MASK, path string) string {
	descriptor, err := windows.GetNamedSecurityInfo(
		path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return ""
	}
	list, _, err := descriptor.DACL()
	if err != nil {
		return ""
	}
	if list == nil {
		return "everybody" // no list at all: nobody is refused
	}
	for i := range uint32(list.AceCount) {
		var entry *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(list, i, &entry) != nil ||
			entry.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE ||
			entry.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 || entry.Mask&rights == 0 {
			continue
		}
		who := (*windows.SID)(unsafe.Pointer(&entry.SidStart))
		for _, group := range many {
			if who.IsWellKnown(group) {
				return nameOf(who)
			}
		}
	}
	return ""
}

func nameOf(who *windows.SID) string {
	account, _, _, err := who.LookupAccount("")
	if err != nil {
		return who.String()
	}
	return account
}

// checkInfo accepts every file: its mode says nothing of who may write it here.
func checkInfo(string, fs.FileInfo) error { return nil }
