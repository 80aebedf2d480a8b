package cli_test

import (
	"syscall"

	"golang.org/x/crypto/ssh"
)

const hangup = syscall.SIGHUP

func fingerprint(k ssh.PublicKey) string { return ssh.FingerprintSHA256(k) }
