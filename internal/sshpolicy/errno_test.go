package sshpolicy_test

import (
	"net"
	"os"
	"syscall"
)

// errno is what net.Dial returns for a system error.
func errno(name string) error {
	n := map[string]syscall.Errno{
		"EHOSTUNREACH": syscall.EHOSTUNREACH, "ECONNRESET": syscall.ECONNRESET, "EACCES": syscall.EACCES, "EMFILE": syscall.EMFILE,
	}[name]
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", n)}
}
