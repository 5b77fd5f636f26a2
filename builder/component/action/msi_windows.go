package action

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// verifyAuthenticode checks the signature of a file as Explorer and Get-AuthenticodeSignature do, without asking for revoked certificates
// ("Example C Program: Verifying the Signature of a PE File" of WinVerifyTrust's documentation). The error of a file without one is
// errNotSigned.
func verifyAuthenticode(path string) error {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return fmt.Errorf("verify the signature: %w", err)
	}
	file := &windows.WinTrustFileInfo{Size: uint32(unsafe.Sizeof(windows.WinTrustFileInfo{})), FilePath: name}
	data := &windows.WinTrustData{
		Size: uint32(unsafe.Sizeof(windows.WinTrustData{})), UIChoice: windows.WTD_UI_NONE, RevocationChecks: windows.WTD_REVOKE_NONE,
		UnionChoice: windows.WTD_CHOICE_FILE, FileOrCatalogOrBlobOrSgnrOrCert: unsafe.Pointer(file), StateAction: windows.WTD_STATEACTION_VERIFY,
	}
	const noUser = ^windows.HWND(0) // INVALID_HANDLE_VALUE
	err = windows.WinVerifyTrustEx(noUser, &windows.WINTRUST_ACTION_GENERIC_VERIFY_V2, data)
	data.StateAction = windows.WTD_STATEACTION_CLOSE
	_ = windows.WinVerifyTrustEx(noUser, &windows.WINTRUST_ACTION_GENERIC_VERIFY_V2, data)
	runtime.KeepAlive(file)
	status, failed := errors.AsType[syscall.Errno](err)
	if !failed {
		return nil
	}
	switch windows.Handle(uint32(status)) {
	case windows.TRUST_E_NOSIGNATURE, windows.TRUST_E_SUBJECT_FORM_UNKNOWN, windows.TRUST_E_PROVIDER_UNKNOWN:
		return errNotSigned
	}
	return fmt.Errorf("the Authenticode signature of the package is not valid: %w (0x%08X)", syscall.Errno(uint32(status)), uint32(status))
}

// msiMeaning is what Windows says about an exit status of msiexec, which is one of its error numbers.
func msiMeaning(code int) string {
	if code <= 0 {
		return ""
	}
	return strings.TrimRight(syscall.Errno(code).Error(), ". \r\n")
}
