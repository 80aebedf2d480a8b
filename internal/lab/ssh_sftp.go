package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync/atomic"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// SFTPOptions are the switches of the SFTP service of an SSHServer. Clients see
// Root as "/". Switches count from the next operation on.
type SFTPOptions struct {
	Root string // a folder of this machine
	// Deny refuses everything that would change a file (SSH_FX_PERMISSION_DENIED).
	Deny bool
	// Full refuses to store any more, as a full disk does: a plain "Failure", and
	// no free space when asked.
	Full bool
	// KeepAll refuses to remove and to replace, as storage that cannot be changed.
	KeepAll bool
	// CutAfter ends the connection when a client has sent so many bytes of files;
	// 0: never.
	CutAfter int64
	// Refuse refuses the subsystem.
	Refuse bool
}

// sessions serves the channels of a connection until it ends.
func (s *SSHServer) sessions(channels <-chan ssh.NewChannel, conn io.Closer) {
	for c := range channels {
		if c.ChannelType() != "session" || s.switches.get().SFTP == nil {
			_ = c.Reject(ssh.Prohibited, "this server has no sessions") // a client that is gone does not care
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return // the connection is gone
		}
		s.srv.wg.Go(func() { s.session(channel, requests, conn) })
	}
}

// session answers the requests of one session; only the SFTP subsystem is there.
func (s *SSHServer) session(channel ssh.Channel, requests <-chan *ssh.Request, conn io.Closer) {
	defer channel.Close()
	for r := range requests {
		var name struct{ Name string }
		o := s.switches.get().SFTP
		ok := r.Type == "subsystem" && ssh.Unmarshal(r.Payload, &name) == nil && name.Name == "sftp" && o != nil && !o.Refuse
		if r.WantReply {
			_ = r.Reply(ok, nil) // a client that is gone does not care
		}
		if !ok {
			continue
		}
		go ssh.DiscardRequests(requests) // ends with the channel
		s.sftp(channel, o.Root, conn)
		return
	}
}

func (s *SSHServer) sftp(channel ssh.Channel, folder string, conn io.Closer) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return // the client sees a channel that ends
	}
	defer root.Close()
	h := &sftpFiles{root: root, conn: conn, o: func() SFTPOptions {
		if o := s.switches.get().SFTP; o != nil {
			return *o
		}
		return SFTPOptions{}
	}}
	server := sftp.NewRequestServer(channel, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h})
	_ = server.Serve() // however the client ends it
	_ = server.Close()
}

// sftpFiles serves one folder.
type sftpFiles struct {
	root *os.Root
	o    func() SFTPOptions
	conn io.Closer
	sent atomic.Int64
}

// local is a name of the client's below the root.
func local(name string) string {
	if name = path.Clean("/" + name); name == "/" {
		return "."
	}
	return name[1:]
}

// Fileread implements sftp.FileReader.
func (h *sftpFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	return h.root.Open(local(r.Filepath))
}

// Filewrite implements sftp.FileWriter.
func (h *sftpFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	o, flags := h.o(), r.Pflags()
	if o.Deny {
		return nil, sftp.ErrSSHFxPermissionDenied
	}
	mode := os.O_WRONLY
	for set, flag := range map[int]bool{os.O_CREATE: flags.Creat, os.O_TRUNC: flags.Trunc, os.O_EXCL: flags.Excl} {
		if flag {
			mode |= set
		}
	}
	f, err := h.root.OpenFile(local(r.Filepath), mode, 0o600)
	if err != nil {
		return nil, err
	}
	return &sftpFile{File: f, of: h}, nil
}

// sftpFile is a file that a client writes.
type sftpFile struct {
	*os.File
	of *sftpFiles
}

func (f *sftpFile) WriteAt(p []byte, at int64) (int, error) {
	o := f.of.o()
	if o.Full {
		return 0, sftp.ErrSSHFxFailure
	}
	if sent := f.of.sent.Add(int64(len(p))); o.CutAfter > 0 && sent > o.CutAfter {
		return 0, errors.Join(io.ErrClosedPipe, f.of.conn.Close())
	}
	return f.File.WriteAt(p, at)
}

// Filecmd implements sftp.FileCmder.
func (h *sftpFiles) Filecmd(r *sftp.Request) error {
	if o := h.o(); o.Deny || o.KeepAll && (r.Method == "Remove" || r.Method == "Rmdir") {
		return sftp.ErrSSHFxPermissionDenied
	}
	name := local(r.Filepath)
	switch r.Method {
	case "Setstat":
		if flags := r.AttrFlags(); flags.Permissions {
			return h.root.Chmod(name, r.Attributes().FileMode().Perm())
		}
		return nil
	case "Rename":
		if _, err := h.root.Lstat(local(r.Target)); err == nil {
			return fs.ErrExist
		}
		return h.root.Rename(name, local(r.Target))
	case "Rmdir", "Remove":
		return h.root.Remove(name)
	case "Mkdir":
		return h.root.Mkdir(name, 0o700)
	}
	return sftp.ErrSSHFxOpUnsupported
}

// PosixRename implements sftp.PosixRenameFileCmder.
func (h *sftpFiles) PosixRename(r *sftp.Request) error {
	o := h.o()
	if _, err := h.root.Lstat(local(r.Target)); o.Deny || o.KeepAll && err == nil {
		return sftp.ErrSSHFxPermissionDenied
	}
	return h.root.Rename(local(r.Filepath), local(r.Target))
}

// StatVFS implements sftp.StatVFSFileCmder: a terabyte, half of it free, or none.
func (h *sftpFiles) StatVFS(*sftp.Request) (*sftp.StatVFS, error) {
	v := &sftp.StatVFS{Bsize: 4096, Frsize: 4096, Blocks: 1 << 28, Files: 1 << 20, Ffree: 1 << 19, Favail: 1 << 19, Namemax: 255}
	if !h.o().Full {
		v.Bfree, v.Bavail = 1<<27, 1<<27
	}
	return v, nil
}

// Filelist implements sftp.FileLister.
func (h *sftpFiles) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	name := local(r.Filepath)
	if r.Method == "Stat" {
		info, err := h.root.Stat(name)
		return infos{info}, err
	}
	if r.Method != "List" {
		return nil, fmt.Errorf("%s: %w", r.Method, sftp.ErrSSHFxOpUnsupported)
	}
	dir, err := h.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	all, err := dir.Readdir(-1)
	slices.SortFunc(all, func(a, b fs.FileInfo) int {
		if a.Name() < b.Name() {
			return -1
		}
		return 1
	})
	return infos(all), err
}

// Lstat implements sftp.LstatFileLister.
func (h *sftpFiles) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	info, err := h.root.Lstat(local(r.Filepath))
	return infos{info}, err
}

// infos is a listing.
type infos []fs.FileInfo

// ListAt implements sftp.ListerAt.
func (l infos) ListAt(into []fs.FileInfo, at int64) (int, error) {
	if at >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(into, l[at:])
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}
