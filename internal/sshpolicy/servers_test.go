package sshpolicy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// other is a server that is not OpenSSH.
type other interface {
	Addr() string
	HostKey() ssh.PublicKey
	Log() string
	Stop() error
}

func dialOther(t *testing.T, s other, key ssh.Signer, policy string) *sshpolicy.Session {
	t.Helper()
	t.Cleanup(func() { _ = s.Stop() })
	session, r, err := sshpolicy.Dial(t.Context(), target(s.Addr()), sshpolicy.DialOptions{Options: sshpolicy.Options{
		Policy: builtin(t, policy), Pins: []sshpolicy.Pin{sshpolicy.PinOf(s.HostKey())}, Login: &sshpolicy.Login{User: lab.ProFTPDUser, Key: key},
	}})
	if err != nil {
		t.Fatalf("%v (%s)\n%s", err, r.Code, s.Log())
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// travel runs the contract over one protocol.
func travel(t *testing.T, s *sshpolicy.Session, p sshpolicy.Protocol, log func() string) {
	t.Helper()
	t.Run(string(p), func(t *testing.T) {
		dir := t.TempDir()
		files, err := s.Files(t.Context(), dir, p)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if t.Failed() {
				t.Log(log())
			}
		}()
		contract(t, files, dir)
		t.Log(strings.Join(files.Notes(), "\n"))
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFilesTravelToProFTPD(t *testing.T) {
	t.Parallel()
	lab.Need(t, "root", "proftpd", lab.ProFTPDModule)
	key := newKey(t)
	p := builtin(t, sshpolicy.PolicyUCSM)
	s, err := lab.StartProFTPD(t.Context(), t.TempDir(), lab.ProFTPDConfig{
		AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, Ciphers: p.Ciphers, MACs: p.MACs,
	})
	if err != nil {
		t.Fatal(err)
	}
	session := dialOther(t, s, key, sshpolicy.PolicyUCSM)
	travel(t, session, sshpolicy.ProtocolSFTP, s.Log)
	if _, err := session.Files(t.Context(), "/", sshpolicy.ProtocolSCP); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SCP: %v", err)
	}
}

func TestFilesTravelToAsyncSSH(t *testing.T) {
	t.Parallel()
	lab.Need(t, lab.AsyncSSHModule)
	key := newKey(t)
	s, err := lab.StartAsyncSSH(t.Context(), t.TempDir(), lab.PythonSSHConfig{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	if err != nil {
		t.Fatal(err)
	}
	session := dialOther(t, s, key, sshpolicy.PolicyUCSM)
	travel(t, session, sshpolicy.ProtocolSFTP, s.Log)
	travel(t, session, sshpolicy.ProtocolSCP, s.Log)
}

func TestFilesTravelToParamiko(t *testing.T) {
	t.Parallel()
	lab.Need(t, lab.ParamikoModule)
	key := newKey(t)
	s, err := lab.StartParamiko(t.Context(), t.TempDir(), lab.PythonSSHConfig{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	if err != nil {
		t.Fatal(err)
	}
	session := dialOther(t, s, key, sshpolicy.PolicyUCSM)
	travel(t, session, sshpolicy.ProtocolSFTP, s.Log)
	if _, err := session.Files(t.Context(), "/", sshpolicy.ProtocolSCP); err == nil || !strings.Contains(err.Error(), "scp") {
		t.Errorf("a server without commands took SCP: %v", err)
	}
}

// Dropbear starts OpenSSH's sftp-server. Many programs one after the other on one
// connection must all be answered.
func TestFilesTravelToDropbear(t *testing.T) {
	t.Parallel()
	lab.Need(t, "root", "dropbear", "scp", "/usr/lib/sftp-server")
	key := newKey(t)
	s, err := lab.StartDropbear(t.Context(), t.TempDir(), lab.DropbearConfig{KeyTypes: names("ed25519"), AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	session, r, err := sshpolicy.Dial(t.Context(), target(s.Addr()), sshpolicy.DialOptions{Options: sshpolicy.Options{
		Policy: builtin(t, "openssh-9"), Pins: []sshpolicy.Pin{sshpolicy.PinOf(s.HostKeys()[0])}, Login: &sshpolicy.Login{User: lab.DropbearUser, Key: key},
	}})
	if err != nil {
		t.Fatalf("%v (%s)\n%s", err, r.Code, s.Log())
	}
	defer session.Close()
	travel(t, session, sshpolicy.ProtocolSFTP, s.Log)
	travel(t, session, sshpolicy.ProtocolSCP, s.Log)
	files, err := session.Files(t.Context(), t.TempDir(), sshpolicy.ProtocolSCP)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 64 { // each asks for what is not there first
		if err := files.Mkdir(t.Context(), fmt.Sprintf("data/%02x", i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoSFTPSubsystemMeansSCPWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{Extra: names("Subsystem other internal-sftp")})
	s := a.dial(t, nil)
	dir := t.TempDir()
	if _, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP); !errors.Is(err, sshpolicy.ErrNoSFTP) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SFTP only: %v", err)
	}
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolAny)
	if err != nil {
		t.Fatal(err)
	}
	if files.Protocol() != sshpolicy.ProtocolSCP || !strings.Contains(strings.Join(files.Notes(), " "), "no SFTP subsystem") {
		t.Errorf("%s, %v", files.Protocol(), files.Notes())
	}
	contract(t, files, dir)
}
