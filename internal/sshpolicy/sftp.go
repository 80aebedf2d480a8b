package sshpolicy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pkg/sftp"
)

// SFTP is a folder at the server, by SFTP on a channel of its own. It meets
// Files.
type SFTP struct {
	s       *Session
	folder  string
	client  *sftp.Client
	channel *channel
	m       *meter
	packet  int // bytes of data in one request
	chroot  bool
	notes   []string
}

var _ Files = (*SFTP)(nil)

// windowBytes is how much of one file is under way at a time; more than the
// 2 MiB window of an SSH channel does not help.
const windowBytes = 4 << 20

// SFTP opens a folder by SFTP. ErrNoSFTP is in the error of a server that has
// none for this account.
func (s *Session) SFTP(ctx context.Context, folder string) (*SFTP, error) {
	folder, err := folderName(folder)
	if err != nil {
		return nil, err
	}
	f := &SFTP{s: s, folder: folder, m: newMeter()}
	g := s.guard(ctx, f.m, true)
	defer g.release()
	if f.channel, err = s.opener.open(ctx, "sftp", true); err != nil {
		return nil, f.notOpened(ctx, err)
	}
	if err := f.start(); err != nil {
		err = f.notStarted(ctx, err)
		f.channel.close()
		return nil, err
	}
	if err := f.enter(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// notOpened says why there is no channel.
func (f *SFTP) notOpened(ctx context.Context, err error) error {
	e := f.fail(ctx, "start", "sftp", err)
	if f.s.Err() == nil && strings.Contains(err.Error(), subsystemRefused) {
		return &FileError{Op: "start", Path: "sftp", Kind: FileUnsupported, Err: ErrNoSFTP}
	}
	return e
}

// subsystemRefused is the library's text; it has no type for it.
const subsystemRefused = "subsystem request failed"

// notStarted says why the program behind the subsystem does not speak SFTP.
func (f *SFTP) notStarted(ctx context.Context, err error) error {
	if f.s.Transport() == OpenSSH && strings.Contains(f.channel.err.String(), subsystemRefused) {
		return &FileError{Op: "start", Path: "sftp", Kind: FileUnsupported, Err: ErrNoSFTP}
	}
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if f.s.Err() != nil || ctx.Err() != nil || !ended {
		e := f.fail(ctx, "start", "sftp", err)
		if fe, ok := errors.AsType[*FileError](e); ok && strings.Contains(err.Error(), "not available") {
			fe.Kind, fe.Why = FileDenied, WhyPermission // the words of nologin
		}
		return e
	}
	f.channel.close()
	_ = f.channel.ended() // it has; its words are complete now
	words := f.channel.err.String()
	if wantsNewPassword(words) {
		return expired(f.s, words)
	}
	if words != "" {
		err = fmt.Errorf("%w: %s", ErrNoSFTP, words)
	} else {
		err = fmt.Errorf("%w: it ended at once", ErrNoSFTP)
	}
	return &FileError{Op: "start", Path: "sftp", Kind: FileUnsupported, Err: err}
}

// expired is the login that succeeded for nothing: OpenSSH with PAM lets a key
// in and then refuses every program until the password is changed.
func expired(s *Session, words string) error {
	outcome := AuthOutcome{User: s.options.Login.User, Offered: []string{}, Tried: []string{}}
	if a := s.result.Auth; a != nil {
		outcome = *a
	}
	outcome.OK, outcome.Message = false, words
	return &AuthError{Kind: AuthExpired, Outcome: outcome}
}

// start speaks the first words and hands the channel to the library.
func (f *SFTP) start() error {
	in, out := meteredWriter{f.channel.in, f.m}, meteredReader{f.channel.out, f.m}
	hello, err := greetSFTP(in, out)
	if err != nil {
		return err
	}
	f.packet = hello.packet
	f.client, err = sftp.NewClientPipe(
		io.MultiReader(bytes.NewReader(hello.version), out), &initSwallower{WriteCloser: in, left: sftpInitSize},
		sftp.MaxPacketUnchecked(f.packet), sftp.UseConcurrentWrites(true), sftp.MaxConcurrentRequestsPerFile(f.window()),
	)
	if err != nil {
		return err
	}
	if !f.has("posix-rename@openssh.com") {
		f.notes = append(f.notes, "the server cannot replace a file in one step (no posix-rename): a name that exists is never written again")
	}
	if !f.has("fsync@openssh.com") {
		f.notes = append(f.notes, "the server does not confirm that data is on its disk (no fsync)")
	}
	return nil
}

// window is how many requests of one file are under way at a time.
func (f *SFTP) window() int { return max(2, min(64, windowBytes/f.packet)) }

func (f *SFTP) has(extension string) bool {
	_, ok := f.client.HasExtension(extension)
	return ok
}

// enter looks at the folder.
func (f *SFTP) enter(ctx context.Context) error {
	if root, err := f.client.RealPath("."); err == nil && root == "/" {
		f.chroot = true
	}
	info, err := f.client.Stat(f.folder)
	if err != nil {
		return f.fail(ctx, "open folder", f.folder, err)
	}
	if !info.IsDir() {
		return &FileError{Op: "open folder", Path: f.folder, Kind: FileOther, Err: errors.New("it is no folder")}
	}
	return nil
}

// Protocol implements Files.
func (f *SFTP) Protocol() Protocol { return ProtocolSFTP }

// Notes implements Files.
func (f *SFTP) Notes() []string { return slices.Clone(f.notes) }

// Close implements Files.
func (f *SFTP) Close() error {
	f.channel.close()
	_ = f.client.Close() // the channel is gone; this waits for the library's reader
	return nil
}

// small runs one request with a short answer.
func (f *SFTP) small(ctx context.Context, op, name string, do func(full string) error) error {
	full, err := fullName(op, f.folder, name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", op, full, context.Cause(ctx))
	}
	g := f.s.guard(ctx, f.m, true)
	defer g.release()
	return f.fail(ctx, op, full, do(full))
}

// Stat implements Files.
func (f *SFTP) Stat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = f.small(ctx, "stat", name, func(full string) (err error) {
		info, err = f.client.Stat(full)
		return err
	})
	return info, err
}

// List implements Files.
func (f *SFTP) List(ctx context.Context, dir string) (all []fs.FileInfo, err error) {
	err = f.small(ctx, "list", dir, func(full string) (err error) {
		all, err = f.client.ReadDirContext(ctx, full)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// Remove implements Files.
func (f *SFTP) Remove(ctx context.Context, name string) error {
	return f.small(ctx, "remove", name, f.client.Remove)
}

// Mkdir implements Files.
func (f *SFTP) Mkdir(ctx context.Context, dir string) error {
	if dir == "." {
		return nil
	}
	if info, err := f.Stat(ctx, dir); err == nil && info.IsDir() {
		return nil
	}
	parts := strings.Split(dir, "/")
	for i := range parts {
		if err := f.mkdirOne(ctx, path.Join(parts[:i+1]...), i == len(parts)-1); err != nil {
			return err
		}
	}
	return nil
}

// mkdirOne makes one folder. An error of one that is there afterwards is none:
// servers have no common answer for "exists".
func (f *SFTP) mkdirOne(ctx context.Context, dir string, private bool) error {
	return f.small(ctx, "mkdir", dir, func(full string) error {
		err := f.client.Mkdir(full)
		if err == nil {
			if refused := f.client.Chmod(full, 0o700); private && refused != nil && !ignorable(refused) {
				return refused
			}
			return nil
		}
		if info, gone := f.client.Stat(full); gone == nil && info.IsDir() {
			return nil
		}
		return err
	})
}

// ignorable: a server that gives no rights to change modes stores files all the
// same, and what is stored is encrypted.
func ignorable(err error) bool {
	e, ok := errors.AsType[*sftp.StatusError](err)
	return errors.Is(err, fs.ErrPermission) || ok && (e.FxCode() == sftp.ErrSSHFxOpUnsupported || e.FxCode() == sftp.ErrSSHFxFailure)
}

// Space implements Files.
func (f *SFTP) Space(ctx context.Context) (free, total uint64, err error) {
	if !f.has(statVFS) {
		return 0, 0, &FileError{Op: "space", Path: f.folder, Kind: FileUnsupported, Err: errors.New("the server does not tell its free space (no " + statVFS + ")")}
	}
	err = f.small(ctx, "space", ".", func(full string) error {
		v, err := f.client.StatVFS(full)
		if err == nil {
			free, total = v.Frsize*v.Bavail, v.Frsize*v.Blocks
		}
		return err
	})
	return free, total, err
}

const statVFS = "statvfs@openssh.com"

// endedSoon waits for the session to notice that its connection is gone: the
// library tells its requests first.
func (s *Session) endedSoon() error {
	wait := time.NewTimer(time.Second)
	defer wait.Stop()
	select {
	case <-s.done:
	case <-wait.C:
	}
	return s.Err()
}
