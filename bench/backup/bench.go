package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// bench is one run: a server, a key, and folders that go with the lab.
type bench struct {
	o      options
	lab    *lab.Lab
	sshd   *lab.SSHD
	server int // its process
	user   string
	key    []byte // private, PEM
	pin    string
	using  sshpolicy.Negotiated // by everybody
	jobs   int                  // of ours, so far; numbers their profiles
}

func newBench(ctx context.Context, o options, dir string) (_ *bench, err error) {
	if missing := lab.Missing("sshd", "ssh"); len(missing) > 0 {
		return nil, fmt.Errorf("needs: %s", strings.Join(missing, ", "))
	}
	b := &bench{o: o}
	if b.lab, err = lab.New(ctx, dir); err != nil {
		return nil, err
	}
	if err := b.start(ctx); err != nil {
		return nil, errors.Join(err, b.lab.Close())
	}
	return b, nil
}

// start runs the server: first with all that the policy allows, to learn what it
// leads to, and then with exactly that, so that everybody uses it.
func (b *bench) start(ctx context.Context) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	b.user = me.Username
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "bench")
	if err != nil {
		return err
	}
	b.key = pem.EncodeToMemory(block)
	if _, err := b.lab.WriteFile("key", b.key); err != nil {
		return err
	}
	if _, err := b.lab.WriteFile("password", []byte(password)); err != nil {
		return err
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	policy, err := sshpolicy.Builtin(sshpolicy.PolicyUCSM)
	if err != nil {
		return err
	}
	c := lab.SSHDConfig{
		KexAlgorithms: policy.KEX, Ciphers: policy.Ciphers, MACs: policy.MACs, KeyTypes: []string{"ed25519"},
		AuthorizedKeys: []ssh.PublicKey{authorized}, Extra: []string{"Subsystem sftp " + sftpServer()},
	}
	if b.sshd, err = b.lab.SSHD(ctx, c); err != nil {
		return err
	}
	host, err := b.sshd.HostKey("ed25519")
	if err != nil {
		return err
	}
	b.pin = sshpolicy.PinOf(host).String()
	line := string(ssh.MarshalAuthorizedKey(host)) // the pattern "*" does for ssh on any port, and not for rclone
	known := "* " + line + knownhosts.Normalize(b.sshd.Addr()) + " " + line
	if _, err := b.lab.WriteFile("known_hosts", []byte(known)); err != nil {
		return err
	}
	out, err := b.ours(ctx, job{Do: "dial", Folder: b.lab.Dir()})
	if err != nil {
		return err
	}
	b.using = out.Negotiated
	c.KexAlgorithms, c.Ciphers, c.MACs = []string{b.using.KEX}, []string{b.using.CipherC2S}, []string{b.using.MACC2S}
	if err := b.sshd.Reconfigure(ctx, c); err != nil {
		return err
	}
	b.server, err = serverPID()
	return err
}

// sftpServer is a process of its own, as Debian has it, where there is one.
func sftpServer() string {
	const program = "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(program); err != nil {
		return "internal-sftp"
	}
	return program
}

func (b *bench) head(w io.Writer) {
	load, _ := os.ReadFile("/proc/loadavg") // only said
	fmt.Fprintf(w, "%s, %s, %s, %s, %s, %d processors, load %.14s, files in %s\n", time.Now().Format(time.DateTime),
		version("ssh", "-V"), version("restic", "version"), version("rclone", "version"), runtime.Version(), runtime.NumCPU(), load, b.lab.Dir())
	fmt.Fprintf(w, "everybody: %s, %s, %s; median of %d rounds\n", b.using.KEX, b.using.CipherC2S, b.using.MACC2S, b.o.rounds)
}

// version is the first line that a program says about itself.
func version(program string, args ...string) string {
	if lab.Program(program) == "" {
		return "no " + program
	}
	out, _ := exec.Command(program, args...).CombinedOutput() // only said
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	first, _, _ = strings.Cut(first, " compiled")
	return first
}

// folder makes an empty folder of the lab anew, and answers it.
func (b *bench) folder(name string) (string, error) {
	dir := filepath.Join(b.lab.Dir(), name)
	return dir, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// at is the path of a name in the lab.
func (b *bench) at(name string) string { return filepath.Join(b.lab.Dir(), name) }

// empty makes folders anew before a round.
func (b *bench) empty(names ...string) func(context.Context) error {
	return func(context.Context) error {
		for _, name := range names {
			if _, err := b.folder(name); err != nil {
				return err
			}
		}
		return nil
	}
}
