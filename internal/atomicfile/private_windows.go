package atomicfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// fullTo is an access control list that inherits nothing: all rights for this user, the system and
// administrators, and none for others. What is made in a folder gets the same.
const fullTo = "D:P(A;OICI;FA;;;%s)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

// makePrivate does what a mode of 0600 or 0700 does elsewhere, to a file or folder that has just
// been made: the mode says nothing here, and the folder around may be one that everybody reads.
func makePrivate(path string) error {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	list, err := windows.SecurityDescriptorFromString(fmt.Sprintf(fullTo, user.User.Sid))
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	const (
		share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
		what  = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	)
	file, err := windows.CreateFile(name, windows.READ_CONTROL|windows.WRITE_DAC, share, nil,
		windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return err
	}
	// SetNamedSecurityInfo would look at what the folder around has, too.
	return errors.Join(windows.SetKernelObjectSecurity(file, what, list), windows.CloseHandle(file))
}
