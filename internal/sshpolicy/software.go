package sshpolicy

import (
	"strconv"
	"strings"
)

// Software is what a server says it is. Nothing in it is proof: the version
// line is a courtesy, and vendors patch without changing it.
type Software struct {
	// Family is our word for the product: "openssh", "dropbear", "proftpd",
	// ...; "" when we do not know it. Remedies depend on it.
	Family  string `json:"family"`
	Name    string `json:"name"`    // product and version in one word as written, e.g. "OpenSSH_9.2p1"
	Product string `json:"product"` // as written, e.g. "OpenSSH"
	Version string `json:"version"` // as written, e.g. "9.2p1"; "" when there is none
	Comment string `json:"comment"` // after the first space, e.g. "Debian-2+deb12u5"
}

// ParseSoftware reads a version line such as "SSH-2.0-OpenSSH_9.2p1 Debian-2".
func ParseSoftware(version string) Software {
	parts := strings.SplitN(version, "-", 3)
	if len(parts) < 3 {
		return Software{}
	}
	name, comment, _ := strings.Cut(parts[2], " ")
	s := Software{Name: name, Product: name, Comment: comment}
	for _, f := range families {
		rest, ok := cutPrefixFold(name, f.prefix)
		if !ok || rest != "" && isLetter(f.prefix[len(f.prefix)-1]) && isLetter(rest[0]) {
			continue // "Go" is not "GoAnywhere"
		}
		s.Family, s.Product, s.Version = f.family, f.product, strings.TrimLeft(rest, "_-/")
		if s.Product == "" {
			s.Product = strings.TrimRight(name[:len(f.prefix)], "_-/v")
		}
		return s
	}
	if i := strings.LastIndexAny(name, "_/-"); i > 0 && i+1 < len(name) && isDigit(name[i+1]) {
		s.Product, s.Version = name[:i], name[i+1:]
	}
	return s
}

// families lists how version lines begin after "SSH-2.0-"; the longer of two
// that begin alike comes first.
var families = []struct{ prefix, family, product string }{
	{"OpenSSH_for_Windows_", "openssh", ""},
	{"OpenSSH_", "openssh", ""},
	{"dropbear_", "dropbear", ""},
	{"dropbear", "dropbear", ""},
	{"libssh_", "libssh", ""},
	{"libssh-", "libssh", ""},
	{"mod_sftp/", "proftpd", "ProFTPD mod_sftp"},
	{"mod_sftp", "proftpd", "ProFTPD mod_sftp"},
	{"Erlang/", "erlang", ""},
	{"paramiko_", "paramiko", ""},
	{"AsyncSSH_", "asyncssh", ""},
	{"Cisco-", "cisco", ""},
	{"APACHE-SSHD-", "apache-sshd", "Apache MINA SSHD"},
	{"SSHD-CORE-", "apache-sshd", "Apache MINA SSHD"},
	{"ssh2js", "ssh2js", "npm ssh2"},
	{"Twisted_", "twisted", ""},
	{"SFTPGo_", "sftpgo", ""},
	{"wolfSSHv", "wolfssh", ""},
	{"tinyssh_", "tinyssh", ""},
	{"Sun_SSH_", "sun", ""},
	{"AWS_SFTP_", "aws", ""},
	{"CerberusFTPServer_", "cerberus", ""},
	{"CrushFTPSSHD", "crushftp", ""},
	{"WeOnlyDo", "weonlydo", ""},
	{"RomSShell_", "romsshell", ""},
	{"mpSSH_", "hpe-ilo", ""},
	{"ROSSSH", "mikrotik", ""},
	{"HUAWEI-", "huawei", ""},
	{"Comware-", "comware", ""},
	{"Go", "go", "x/crypto/ssh"},
}

// Release is the version as numbers with dots, "9.2" for "9.2p1", or "".
func (s Software) Release() string {
	end := 0
	for end < len(s.Version) && (isDigit(s.Version[end]) || s.Version[end] == '.') {
		end++
	}
	return strings.Trim(s.Version[:end], ".")
}

// Major is the first number of the version, or -1.
func (s Software) Major() int {
	first, _, _ := strings.Cut(s.Release(), ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return -1
	}
	return n
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
