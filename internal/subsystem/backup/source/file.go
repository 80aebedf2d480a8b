package source

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// File is a regular file open for reading, from one goroutine at a time.
type File struct {
	fd      int
	path    string
	meta    *Meta
	report  *Report
	read    int64
	failed  bool
	changed bool
}

// Open opens a regular file. It must be called while the entry is being visited; the file may then be handed to
// another goroutine. An error for which [IsSkip] is true is in the report already.
//
// Between the look and the opening the name may have been given to something else. A pipe or a device in its place is
// opened without waiting, seen, and closed unread; another regular file is simply what the backup holds then, with its
// own metadata.
func (e *Entry) Open() (*File, error) {
	if e.Step != Item || e.Meta.Type != Regular {
		return nil, fmt.Errorf("open %s: is a %s, not a file", show(e.Path), e.Meta.Type)
	}
	report := e.w.report
	fd, err := openNoAtime(e.in.fd, e.Name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, report.skip(e.Path, Vanished, err)
	case errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO):
		return nil, report.skip(e.Path, Swapped, errNoFile)
	case err != nil:
		return nil, report.skip(e.Path, Unreadable, fmt.Errorf("open: %w", err))
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, report.skip(e.Path, Unreadable, fmt.Errorf("look: %w", err))
	}
	if TypeOf(st.Mode) != Regular {
		unix.Close(fd)
		return nil, report.skip(e.Path, Swapped, errNoFile)
	}
	m := &Meta{}
	m.fill(&st, e.w.owners)
	m.Xattrs = e.Meta.Xattrs
	if m.Inode != e.Meta.Inode || m.DeviceID != e.Meta.DeviceID {
		if m.Xattrs, err = xattrsOf(fd); err != nil {
			report.Add(Skip{Path: e.Path, Reason: Metadata, Err: err})
		}
	}
	return &File{fd: fd, path: e.Path, meta: m, report: report}, nil
}

var errNoFile = errors.New("is no regular file any more")

// Meta answers the metadata as it was when the file was opened.
func (f *File) Meta() *Meta { return f.meta }

// Path answers the absolute path.
func (f *File) Path() string { return f.path }

// Read reads on. An error of the disk is a skip ([IsSkip]), in the report already.
func (f *File) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			f.failed = true
			return 0, f.report.skip(f.path, Unreadable, fmt.Errorf("read at byte %d: %w", f.read, err))
		case n == 0:
			return 0, io.EOF
		}
		f.read += int64(n)
		return n, nil
	}
}

// Close closes the file. If size or modification time are no longer what they were at the opening, the file was
// written to while it was read and is reported as changed.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	var st unix.Stat_t
	err := fstat(f.fd, &st)
	unix.Close(f.fd)
	f.fd = -1
	if f.failed {
		return nil // told as unreadable
	}
	switch now := timeOf(st.Mtim); {
	case err != nil:
		return f.report.skip(f.path, Unreadable, fmt.Errorf("look after reading: %w", err))
	case st.Size != f.meta.Size:
		err = fmt.Errorf("had %d bytes before it was read and %d after", f.meta.Size, st.Size)
	case !now.Equal(f.meta.ModTime):
		err = fmt.Errorf("was written to at %s, while it was read", now.UTC().Format("2006-01-02T15:04:05.000Z"))
	default:
		return nil
	}
	f.changed = true
	f.report.Add(Skip{Path: f.path, Reason: Changed, Err: err})
	return nil
}

// Changed tells, after Close, whether the file was written to while it was read.
func (f *File) Changed() bool { return f.changed }
