package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
	"allclear/internal/wire"
)

// ending is how the runs of a job to one kind of server must end.
type ending struct {
	code, qualifier string // of the fault; "" means that the run succeeds
	says            string // in the text of the result, or in a note of a run that succeeds
	kex             string // what must have been agreed on
	protocol        sshpolicy.Protocol
}

// serverRow is a kind of server and what a job to it must come to.
type serverRow struct {
	name   string
	needs  []string
	policy string // "" is the seed's
	start  func(w *world, key ssh.Signer) backup.Target
	change func(t *backup.Target) // nil: nothing
	want   ending
	// repository is how a repository job ends where that differs from an archive.
	repository *ending
	// archive claims that a repository job would show nothing that another row does
	// not show.
	archive bool
}

const (
	gex     = "diffie-hellman-group-exchange-sha256"
	group18 = "diffie-hellman-group18-sha512"
)

// list is a list of names.
func list(all ...string) []string { return all }

// openssh is the host's sshd in a configuration.
func openssh(c lab.SSHDConfig) func(*world, ssh.Signer) backup.Target {
	return func(w *world, key ssh.Signer) backup.Target {
		if c.KeyTypes == nil {
			c.KeyTypes = list("ed25519")
		}
		c.AuthorizedKeys = []ssh.PublicKey{key.PublicKey()}
		if !slices.ContainsFunc(c.Extra, func(line string) bool { return strings.HasPrefix(line, "Subsystem") }) {
			c.Extra = append(slices.Clone(c.Extra), sftpLine)
		}
		s := must(w.lab.SSHD(w.t.Context(), c))(w.t)
		return w.at(s.Addr(), must(user.Current())(w.t).Username, key, must(s.HostKey(c.KeyTypes[0]))(w.t))
	}
}

// at is a target whose folder is on this machine.
func (w *world) at(addr, name string, key ssh.Signer, hostKeys ...ssh.PublicKey) backup.Target {
	t := target(w.t, addr, key, hostKeys...)
	t.User, t.Path = name, w.t.TempDir()
	t.Login = func() (sshpolicy.Login, error) { return sshpolicy.Login{User: name, Key: key}, nil }
	return t
}

// chrooted is an account of the host's sshd that may do nothing but SFTP below a
// folder.
func chrooted(w *world, key ssh.Signer) backup.Target {
	root, err := os.MkdirTemp("/run", "allclear-chroot-") // sshd wants every folder above to be root's alone
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := errors.Join(os.Chmod(root, 0o755), os.Mkdir(filepath.Join(root, "upload"), 0o700)); err != nil {
		w.t.Fatal(err)
	}
	t := openssh(lab.SSHDConfig{Extra: list("ChrootDirectory "+root, "ForceCommand internal-sftp")})(w, key)
	t.Path = "/upload"
	return t
}

func dropbear(w *world, key ssh.Signer) backup.Target {
	s := must(w.lab.Dropbear(w.t.Context(), lab.DropbearConfig{KeyTypes: list("ed25519"), AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}))(w.t)
	return w.at(s.Addr(), lab.DropbearUser, key, s.HostKeys()...)
}

func proftpd(w *world, key ssh.Signer) backup.Target {
	p := must(sshpolicy.Builtin(sshpolicy.PolicyUCSM))(w.t)
	s := must(w.lab.ProFTPD(w.t.Context(), lab.ProFTPDConfig{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, Ciphers: p.Ciphers, MACs: p.MACs}))(w.t)
	return w.at(s.Addr(), lab.ProFTPDUser, key, s.HostKey())
}

func paramiko(w *world, key ssh.Signer) backup.Target {
	s := must(w.lab.Paramiko(w.t.Context(), lab.PythonSSHConfig{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}))(w.t)
	return w.at(s.Addr(), "backup", key, s.HostKey())
}

func asyncssh(w *world, key ssh.Signer) backup.Target {
	s := must(w.lab.AsyncSSH(w.t.Context(), lab.PythonSSHConfig{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}))(w.t)
	return w.at(s.Addr(), "backup", key, s.HostKey())
}

func by(p sshpolicy.Protocol) func(*backup.Target) {
	return func(t *backup.Target) { t.Protocol = p }
}

func program(t *backup.Target) { t.Transport = sshpolicy.OpenSSH }

func noCommon(category string, says ...string) ending {
	return ending{code: sshpolicy.CodeNoCommonAlgorithm, qualifier: category, says: strings.Join(says, "")}
}

// servers are kinds of server, each with the one true reason when a job to it
// cannot succeed.
func servers() []serverRow {
	p, _ := sshpolicy.Builtin(sshpolicy.PolicyUCSM) // is there
	sshd, ssh9 := list("sshd", "root"), "openssh-9"
	ten := lab.SSHDConfig{ // what sshd 10 offers by default, as far as Debian's 9.2 has it
		KexAlgorithms: list("sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
		Ciphers:       list("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
	}
	exact := lab.SSHDConfig{KexAlgorithms: p.KEX, Ciphers: p.Ciphers, MACs: p.MACs}
	curve := lab.SSHDConfig{KexAlgorithms: list("curve25519-sha256")}
	aead := lab.SSHDConfig{Ciphers: list("aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")}
	etm := lab.SSHDConfig{Ciphers: list("aes256-ctr"), MACs: list("hmac-sha2-512-etm@openssh.com")}
	bare := lab.SSHDConfig{Extra: list("Subsystem other internal-sftp")}
	return []serverRow{
		{name: "exactly the seed's policy", needs: sshd, start: openssh(exact), want: ending{kex: gex}},
		{name: "group18 only", needs: sshd, start: openssh(lab.SSHDConfig{KexAlgorithms: list(group18)}), want: ending{kex: group18}},
		{name: "group exchange only", needs: sshd, start: openssh(lab.SSHDConfig{KexAlgorithms: list(gex)}), want: ending{kex: gex}, archive: true},
		{name: "CBC only", needs: sshd, start: openssh(lab.SSHDConfig{Ciphers: list("aes256-cbc")}), want: noCommon("cipher", "aes256-cbc")},
		{name: "hmac-sha1 only", needs: sshd, start: openssh(lab.SSHDConfig{MACs: list("hmac-sha1")}), want: noCommon("mac", "hmac-sha1")},
		{name: "hmac-sha1 only, allowed", needs: sshd, policy: ssh9, start: openssh(lab.SSHDConfig{MACs: list("hmac-sha1"), Ciphers: list("aes128-ctr")}), archive: true},
		{name: "curve25519 only", needs: sshd, start: openssh(curve), want: noCommon("kex", "curve25519-sha256")},
		{name: "curve25519 only, allowed", needs: sshd, policy: "modern", start: openssh(curve), want: ending{kex: "curve25519-sha256"}},
		{name: "AEAD only", needs: sshd, start: openssh(aead), want: noCommon("cipher", "aes256-gcm@openssh.com")},
		{name: "AEAD only, allowed", needs: sshd, policy: "modern", start: openssh(aead), archive: true},
		{name: "ETM only", needs: sshd, start: openssh(etm), want: noCommon("mac", "hmac-sha2-512-etm@openssh.com")},
		{name: "ETM only, allowed", needs: sshd, policy: "modern", start: openssh(etm), archive: true},
		{name: "ssh-rsa only", needs: sshd, start: openssh(lab.SSHDConfig{KeyTypes: list("rsa"), HostKeyAlgorithms: list("ssh-rsa")}), want: noCommon("host_key", "ssh-rsa")},
		{name: "sshd 10", needs: sshd, start: openssh(ten), want: noCommon("kex", "curve25519-sha256")},
		{name: "sshd 10, allowed", needs: sshd, policy: "modern", start: openssh(ten), archive: true},
		{name: "chroot for SFTP only", needs: list("sshd", "root"), start: chrooted},
		{name: "chroot for SFTP only, any", needs: list("sshd", "root"), start: chrooted, change: by(sshpolicy.ProtocolAny), archive: true},
		{name: "chroot for SFTP only, SCP", needs: list("sshd", "root"), start: chrooted, change: by(sshpolicy.ProtocolSCP), want: ending{code: "backup/target/no-sftp", qualifier: "scp-disabled"}},
		{name: "chroot for SFTP only, the path outside", needs: list("sshd", "root"), start: chrooted, change: func(t *backup.Target) { t.Path = "/srv/backup" }, want: ending{code: "backup/target/access-denied", qualifier: "chroot"}},
		{name: "no subsystem", needs: sshd, start: openssh(bare), want: ending{code: "backup/target/no-sftp", qualifier: "subsystem"}},
		{name: "no subsystem, any", needs: sshd, start: openssh(bare), change: by(sshpolicy.ProtocolAny), want: ending{protocol: sshpolicy.ProtocolSCP, says: "SCP"}, archive: true},
		{name: "SCP", needs: sshd, start: openssh(exact), change: by(sshpolicy.ProtocolSCP), want: ending{protocol: sshpolicy.ProtocolSCP}},
		{name: "one session, rekeying", needs: sshd, start: openssh(lab.SSHDConfig{Extra: list("MaxSessions 1", "RekeyLimit 1M")})},
		{name: "the ssh program", needs: list("sshd", "ssh", "root"), start: openssh(exact), change: program, want: ending{kex: gex}},
		{name: "the ssh program, group18 only", needs: list("sshd", "ssh", "root"), start: openssh(lab.SSHDConfig{KexAlgorithms: list(group18)}), change: program, want: ending{kex: group18}, archive: true},
		{name: "the ssh program, curve25519 only", needs: list("sshd", "ssh", "root"), start: openssh(curve), change: program, want: noCommon("kex", "curve25519-sha256")},
		{name: "the ssh program, no subsystem", needs: list("sshd", "ssh", "root"), start: openssh(bare), change: program, want: ending{code: "backup/target/no-sftp", qualifier: "subsystem"}},
		{name: "dropbear", needs: list("dropbear", "root"), start: dropbear, want: noCommon("kex")},
		{name: "dropbear, allowed", needs: list("dropbear", "root", "/usr/lib/sftp-server"), policy: ssh9, start: dropbear},
		{name: "dropbear, SCP", needs: list("dropbear", "root", "scp"), policy: ssh9, start: dropbear, change: by(sshpolicy.ProtocolSCP), want: ending{protocol: sshpolicy.ProtocolSCP}, archive: true},
		{name: "ProFTPD", needs: list("root", "proftpd", lab.ProFTPDModule), start: proftpd},
		{name: "ProFTPD, SCP", needs: list("root", "proftpd", lab.ProFTPDModule), start: proftpd, change: by(sshpolicy.ProtocolSCP), want: ending{code: "backup/target/no-sftp", qualifier: "scp-disabled", says: "mod_sftp"}},
		{name: "Paramiko", needs: list(lab.ParamikoModule), start: paramiko},
		{name: "Paramiko, SCP", needs: list(lab.ParamikoModule), start: paramiko, change: by(sshpolicy.ProtocolSCP), want: ending{code: "backup/target/no-sftp", qualifier: "scp-disabled"}},
		{name: "AsyncSSH", needs: list(lab.AsyncSSHModule), start: asyncssh},
		{name: "AsyncSSH, SCP", needs: list(lab.AsyncSSHModule), start: asyncssh, change: by(sshpolicy.ProtocolSCP), want: ending{protocol: sshpolicy.ProtocolSCP}, repository: &ending{code: "backup/job-failed", qualifier: "scp-only", says: "nothing but scp"}},
	}
}

// A job of each kind to each kind of server: the copy arrives, is proved and
// comes back as it was, or the run names the one true reason.
func TestJobsToEveryKindOfServer(t *testing.T) {
	for _, row := range servers() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			lab.Need(t, row.needs...)
			w := newWorld(t)
			key, pemKey := newLogin(t)
			target := row.start(w, key)
			target.KeyPEM = func() ([]byte, error) { return bytes.Clone(pemKey), nil }
			policy := row.policy
			if policy == "" {
				policy = sshpolicy.PolicyUCSM
			}
			target.Policy = must(sshpolicy.Builtin(policy))(t)
			if row.change != nil {
				row.change(&target)
			}
			j, dir := job(t, backup.Archive)
			other := j
			other.Name, other.Kind = "two", backup.Repository
			w.begin([]backup.Target{target}, j, other)
			w.ends(j.Name, dir, &target, row.want)
			if row.archive {
				return
			}
			if row.repository == nil {
				row.repository = &row.want
			}
			w.ends(other.Name, dir, &target, *row.repository)
		})
	}
}

// newLogin makes a key to log in with, also in the form that programs read.
func newLogin(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := must(ssh.MarshalPrivateKey(key, ""))(t)
	return must(ssh.NewSignerFromKey(key))(t), pem.EncodeToMemory(block)
}

// ends runs a job and compares how that ends.
func (w *world) ends(name, dir string, target *backup.Target, want ending) {
	w.t.Helper()
	rec := w.run(name)
	if string(rec.Result.Code) != want.code || rec.Result.Qualifier != want.qualifier || (want.code == "") != (rec.State == "success") {
		w.t.Errorf("%s: %s %+v, want %q (%s); notes %q", name, rec.State, rec.Result, want.code, want.qualifier, rec.Notes)
		return
	}
	if text := rec.Result.Text + strings.Join(rec.Notes, "\n"); !strings.Contains(text, want.says) {
		w.t.Errorf("%s: %q does not say %q", name, text, want.says)
	}
	if want.code != "" {
		v, _ := w.view(backup.CodeJobFailed, name)
		if own := want.code == string(backup.CodeJobFailed); !v.Active || own && v.Sense.Get("qualifier") != want.qualifier {
			w.t.Errorf("%s: failed, and backup/job-failed is %+v", name, v)
		}
		return
	}
	protocol := want.protocol
	if protocol == "" {
		protocol = sshpolicy.ProtocolSFTP
	}
	if n := rec.SSH; rec.Protocol != string(protocol) || want.kex != "" && n.KEX != want.kex || !slices.Contains(target.Policy.KEX, n.KEX) || !slices.Contains(target.Policy.Ciphers, n.CipherC2S) {
		w.t.Errorf("%s: by %s, %+v", name, rec.Protocol, n)
	}
	if v := must(do[wire.BackupVerify](w, "verify", `{"job":"`+name+`","full":true}`))(w.t); !v.OK || v.Copies != 1 {
		w.t.Errorf("%s: verify %+v", name, v)
	}
	w.restoresOf(name, rec.Copy, dir)
}
