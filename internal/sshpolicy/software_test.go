package sshpolicy_test

import (
	"testing"

	"allclear/internal/sshpolicy"
)

func TestSoftwareIsReadFromTheVersionLine(t *testing.T) {
	for _, tt := range []struct {
		line, family, product, version, release, comment string
		major                                            int
	}{
		{"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u5", "openssh", "OpenSSH", "9.2p1", "9.2", "Debian-2+deb12u5", 9},
		{"SSH-2.0-OpenSSH_10.0", "openssh", "OpenSSH", "10.0", "10.0", "", 10},
		{"SSH-2.0-OpenSSH_for_Windows_8.1", "openssh", "OpenSSH_for_Windows", "8.1", "8.1", "", 8},
		{"SSH-1.99-OpenSSH_3.9p1", "openssh", "OpenSSH", "3.9p1", "3.9", "", 3},
		{"SSH-2.0-dropbear_2022.83", "dropbear", "dropbear", "2022.83", "2022.83", "", 2022},
		{"SSH-2.0-dropbear", "dropbear", "dropbear", "", "", "", -1},
		{"SSH-2.0-libssh_0.10.6", "libssh", "libssh", "0.10.6", "0.10.6", "", 0},
		{"SSH-2.0-libssh-0.6.3", "libssh", "libssh", "0.6.3", "0.6.3", "", 0},
		{"SSH-2.0-mod_sftp", "proftpd", "ProFTPD mod_sftp", "", "", "", -1},
		{"SSH-2.0-mod_sftp/1.0.1", "proftpd", "ProFTPD mod_sftp", "1.0.1", "1.0.1", "", 1},
		{"SSH-2.0-Erlang/4.15", "erlang", "Erlang", "4.15", "4.15", "", 4},
		{"SSH-2.0-paramiko_2.12.0", "paramiko", "paramiko", "2.12.0", "2.12.0", "", 2},
		{"SSH-2.0-Cisco-1.25", "cisco", "Cisco", "1.25", "1.25", "", 1},
		{"SSH-2.0-APACHE-SSHD-2.8.0", "apache-sshd", "Apache MINA SSHD", "2.8.0", "2.8.0", "", 2},
		{"SSH-2.0-ssh2js1.11.0srv", "ssh2js", "npm ssh2", "1.11.0srv", "1.11.0", "", 1},
		{"SSH-2.0-Go", "go", "x/crypto/ssh", "", "", "", -1},
		{"SSH-2.0-GoAnywhere7.1.1", "", "GoAnywhere7.1.1", "", "", "", -1},
		{"SSH-2.0-SomethingNew_3.4", "", "SomethingNew", "3.4", "3.4", "", 3},
		{"SSH-2.0-", "", "", "", "", "", -1},
		{"", "", "", "", "", "", -1},
		{"nonsense", "", "", "", "", "", -1},
	} {
		s := sshpolicy.ParseSoftware(tt.line)
		if s.Family != tt.family || s.Product != tt.product || s.Version != tt.version || s.Release() != tt.release || s.Comment != tt.comment || s.Major() != tt.major {
			t.Errorf("%q: got %+v release %q major %d", tt.line, s, s.Release(), s.Major())
		}
	}
}
