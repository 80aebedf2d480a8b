package sshpolicy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// endless gives bytes until the test is over, slowly enough to be cut.
type endless struct{ after func(n int64) } // called with what was given so far

func (e *endless) reader() io.Reader {
	var n int64
	return readerFunc(func(p []byte) (int, error) {
		p = p[:min(len(p), 64<<10)]
		n += int64(len(p))
		if e.after != nil {
			e.after(n)
		}
		return len(p), nil
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// leftovers are the names below dir that are not temporary, and those that are.
func leftovers(t *testing.T, dir string) (whole, temporary int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if sshpolicy.IsTemp(e.Name()) {
			temporary++
		} else {
			whole++
		}
	}
	return whole, temporary
}

func TestALineThatBreaksInTheMiddle(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line, err := l.Fault(a.sshd.Addr(), lab.FaultOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), random(16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []sshpolicy.Protocol{sshpolicy.ProtocolSFTP, sshpolicy.ProtocolSCP} {
		for _, tt := range []struct {
			name  string
			fault lab.FaultOptions
			save  bool
			kind  sshpolicy.FileErrorKind
		}{
			{"save, closed", lab.FaultOptions{CutSent: 4 << 20}, true, sshpolicy.FileReset},
			{"save, reset", lab.FaultOptions{CutSent: 4 << 20, CutReset: true}, true, sshpolicy.FileReset},
			{"save, stalled on the way there", lab.FaultOptions{StallSent: 4 << 20}, true, sshpolicy.FileStall},
			{"read, closed", lab.FaultOptions{CutAfter: 4 << 20}, false, sshpolicy.FileReset},
			{"read, reset", lab.FaultOptions{CutAfter: 4 << 20, CutReset: true}, false, sshpolicy.FileReset},
			{"read, stalled", lab.FaultOptions{Stall: true, StallAt: 4 << 20}, false, sshpolicy.FileStall},
		} {
			t.Run(string(protocol)+" "+tt.name, func(t *testing.T) {
				line.Set(func(o *lab.FaultOptions) { *o = tt.fault })
				o := a.options(t)
				o.Stall = time.Minute
				if tt.kind == sshpolicy.FileStall {
					o.Stall = 2 * time.Second
				}
				s, _, err := sshpolicy.Dial(t.Context(), target(line.Addr()), o)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				files, err := s.Files(t.Context(), dir, protocol)
				if err != nil {
					t.Fatal(err)
				}
				defer files.Close()
				if tt.save {
					_, err = files.Save(t.Context(), "file", (&endless{}).reader(), 1<<40)
				} else {
					var r io.ReadCloser
					if r, err = files.Open(t.Context(), "big", 0, -1); err == nil {
						_, err = io.Copy(io.Discard, r)
						_ = r.Close() // the connection is gone
					}
				}
				fileError(t, err, tt.kind, "", "")
				if s.Err() == nil {
					t.Error("the session does not know that it is over")
				}
				if _, err := files.Stat(t.Context(), "big"); err == nil {
					t.Error("a dead session answers")
				}
				if _, err := os.Stat(filepath.Join(dir, "file")); err == nil {
					t.Error("a part stands under the name of the whole")
				}
			})
		}
	}
}

func TestASlowLineIsNotAStall(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line, err := l.Fault(a.sshd.Addr(), lab.FaultOptions{Throttle: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	o := a.options(t)
	o.Stall = time.Second
	s, _, err := sshpolicy.Dial(t.Context(), target(line.Addr()), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files, err := s.Files(t.Context(), t.TempDir(), sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	data := random(3 << 20)
	if _, err := files.Save(t.Context(), "file", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	part(t, files, "file", data, 0, -1)
}

// small mounts a file system of a few megabytes.
func small(t *testing.T, options string) string {
	t.Helper()
	lab.Need(t, "root", "mount", "umount")
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestAFullDiskIsSaidWithWhatIsFreeAndNeeded(t *testing.T) {
	t.Parallel()
	full := small(t, "size=4m")
	inodes := small(t, "size=4m,nr_inodes=2")
	readOnly := small(t, "size=4m")
	a := newAccount(t, lab.SSHDConfig{})
	s := a.dial(t, nil)
	for _, protocol := range []sshpolicy.Protocol{sshpolicy.ProtocolSFTP, sshpolicy.ProtocolSCP} {
		t.Run(string(protocol), func(t *testing.T) {
			if out, err := exec.Command("mount", "-o", "remount,rw", readOnly).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			files, err := s.Files(t.Context(), full, protocol)
			if err != nil {
				t.Fatal(err)
			}
			_, err = files.Save(t.Context(), "file", bytes.NewReader(random(8<<20)), 8<<20)
			e := fileError(t, err, sshpolicy.FileNoSpace, "", "no space")
			if e.Need != 8<<20 || e.Free < 3<<20 || e.Free > 4<<20 {
				t.Errorf("need %d, free %d", e.Need, e.Free)
			}
			if whole, temporary := leftovers(t, full); whole+temporary > 0 {
				t.Errorf("%d files and %d parts are left", whole, temporary)
			}
			free, total, err := files.Space(t.Context())
			if err != nil || total != 4<<20 || free != 4<<20 {
				t.Errorf("space %d of %d: %v", free, total, err)
			}
			if protocol == sshpolicy.ProtocolSFTP {
				files, err := s.Files(t.Context(), inodes, protocol)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := files.Save(t.Context(), "one", strings.NewReader("x"), 1); err != nil {
					t.Fatal(err)
				}
				_, err = files.Save(t.Context(), "two", strings.NewReader("x"), 1)
				fileError(t, err, sshpolicy.FileNoSpace, "", "no space")
			}
			if out, err := exec.Command("mount", "-o", "remount,ro", readOnly).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			files, err = s.Files(t.Context(), readOnly, protocol)
			if err != nil {
				t.Fatal(err)
			}
			_, err = files.Save(t.Context(), "file", strings.NewReader("x"), 1)
			fileError(t, err, sshpolicy.FileDenied, sshpolicy.WhyReadOnly, "read-only")
		})
	}
}

func TestWhatTheServerForbids(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, forbidden string
		notes           string
	}{
		{"read-only account", "-R", ""},
		{"rename refused", "-P posix-rename,rename", "no posix-rename"},
		{"close refused", "-P close", ""},
		{"fsync refused", "-P fsync", "no fsync"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t, lab.SSHDConfig{Extra: []string{"Subsystem sftp internal-sftp " + tt.forbidden}})
			s := a.dial(t, nil)
			dir := t.TempDir()
			files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(files.Notes(), " "), tt.notes) {
				t.Errorf("notes %q", files.Notes())
			}
			_, err = files.Save(t.Context(), "file", strings.NewReader("x"), 1)
			if tt.name == "fsync refused" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			fileError(t, err, sshpolicy.FileDenied, sshpolicy.WhyPermission, "allow")
			if whole, temporary := leftovers(t, dir); whole+temporary > 0 {
				t.Errorf("%d files and %d parts are left", whole, temporary)
			}
		})
	}
}

func TestASourceThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	s := a.dial(t, nil)
	broken := errors.New("the disk here is broken")
	for _, protocol := range []sshpolicy.Protocol{sshpolicy.ProtocolSFTP, sshpolicy.ProtocolSCP} {
		dir := t.TempDir()
		files, err := s.Files(t.Context(), dir, protocol)
		if err != nil {
			t.Fatal(err)
		}
		_, err = files.Save(t.Context(), "broken", io.MultiReader(bytes.NewReader(random(1<<20)), readerFunc(func([]byte) (int, error) { return 0, broken })), 2<<20)
		if _, ours := errors.AsType[*sshpolicy.FileError](err); ours || !errors.Is(err, broken) {
			t.Errorf("%s: %v", protocol, err)
		}
		_, err = files.Save(t.Context(), "short", strings.NewReader("x"), 2)
		fileError(t, err, sshpolicy.FileShort, "", "1 bytes, 2 were announced")
		_, err = files.Save(t.Context(), "long", strings.NewReader("xxx"), 2)
		fileError(t, err, sshpolicy.FileShort, "", "announced")
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err = files.Save(ctx, "cancelled", (&endless{after: func(n int64) {
			if n > 1<<20 {
				cancel(broken)
			}
		}}).reader(), 1<<40)
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", protocol, err)
		}
		if s.Err() != nil {
			t.Fatalf("%s: the session ended: %v", protocol, s.Err())
		}
		if whole, temporary := leftovers(t, dir); whole+temporary > 0 {
			t.Errorf("%s: %d files and %d parts are left", protocol, whole, temporary)
		}
	}
}

func TestOneSessionOnlyIsEnoughForSCP(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{Extra: names("MaxSessions 1")})
	s := a.dial(t, nil)
	dir := t.TempDir()
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSCP)
	if err != nil {
		t.Fatal(err)
	}
	contract(t, files, dir)
	first, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP)
	fileError(t, err, sshpolicy.FileOther, "", "MaxSessions")
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	stores(t, s, dir)
}

func TestKeysAreExchangedAgainInTheMiddle(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{Extra: names("RekeyLimit 1M")})
	s := a.dial(t, nil)
	files, err := s.Files(t.Context(), t.TempDir(), sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	data := random(6 << 20)
	if _, err := files.Save(t.Context(), "file", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	part(t, files, "file", data, 0, -1)
}

func TestAServerProgramThatIsKilledEndsItsFilesOnly(t *testing.T) {
	t.Parallel()
	lab.Need(t, "/usr/lib/openssh/sftp-server")
	dir := t.TempDir()
	pid, program := filepath.Join(dir, "pid"), filepath.Join(dir, "sftp")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho $$ > %s\nexec /usr/lib/openssh/sftp-server\n", pid), 0o755); err != nil {
		t.Fatal(err)
	}
	a := newAccount(t, lab.SSHDConfig{Extra: []string{"Subsystem sftp " + program}})
	s := a.dial(t, nil)
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	victim, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	_, err = files.Save(t.Context(), "file", (&endless{after: func(n int64) {
		if n > 1<<20 && !killed {
			killed = true
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}}).reader(), -1)
	fileError(t, err, sshpolicy.FileReset, "", "ended in the middle")
	if s.Err() != nil {
		t.Errorf("the session ended too: %v", s.Err())
	}
	stores(t, s, t.TempDir())
}

func TestAnAccountThatOnlySpeaks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		code       string
		wants      string
	}{
		{"expired password", `echo "Password change required but no TTY available." >&2; exit 1`, sshpolicy.CodeAuthFailed, "expired"},
		{"a greeting", `echo "Welcome to the appliance"; exec cat`, "", "Welcome to the appliance"},
		{"no login", `echo "This account is currently not available."; exit 1`, "", "not available"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t, lab.SSHDConfig{Extra: []string{"ForceCommand " + tt.says}})
			s := a.dial(t, nil)
			_, err := s.Files(t.Context(), ".", sshpolicy.ProtocolAny)
			code, _ := sshpolicy.Classify(err)
			if err == nil || code != tt.code || !strings.Contains(err.Error(), tt.wants) {
				t.Errorf("code %q: %v", code, err)
			}
		})
	}
}

func TestASilentServerIsNoticed(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line, err := l.Fault(a.sshd.Addr(), lab.FaultOptions{StallSent: 6 << 10})
	if err != nil {
		t.Fatal(err)
	}
	o := a.options(t)
	o.KeepAlive = 50 * time.Millisecond
	s, _, err := sshpolicy.Dial(t.Context(), target(line.Addr()), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("still waiting")
	}
	if !errors.Is(s.Err(), sshpolicy.ErrKeepAlive) {
		t.Errorf("ended by %v", s.Err())
	}
}
