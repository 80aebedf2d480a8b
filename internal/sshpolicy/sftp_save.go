package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pkg/sftp"
)

// fsyncPatience multiplies the stall period while the server writes through.
const fsyncPatience = 10

// Save implements Files: a temporary name, all bytes, fsync where the server
// has it, the size, close, rename. On failure the temporary file is removed.
func (f *SFTP) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	full, err := fullName("save", f.folder, name)
	if err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, fmt.Errorf("save %s: %w", full, context.Cause(ctx))
	}
	g := f.s.guard(ctx, f.m, false)
	defer g.release()
	temp := tempName(full)
	file, err := f.client.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return 0, f.refine(f.fail(ctx, "save", full, err), size, 0)
	}
	from := &source{ctx: ctx, r: r, g: g, count: func(n int) { f.s.sent.Add(int64(n)) }}
	stored, err := f.fill(ctx, g, file, full, from, size)
	if err == nil {
		err = f.rename(ctx, temp, full)
	}
	if err != nil {
		if f.s.Err() == nil {
			_ = f.client.Remove(temp) // the first error is the one to tell; the name says what it is
		}
		return 0, err
	}
	return stored, nil
}

// fill writes and closes the temporary file.
func (f *SFTP) fill(ctx context.Context, g *guard, file *sftp.File, full string, from *source, size int64) (int64, error) {
	stored, err := f.write(ctx, g, file, full, from, size)
	closed := file.Close()
	if err == nil && closed != nil {
		err = f.refine(f.fail(ctx, "save", full, closed), size, stored)
	}
	return stored, err
}

func (f *SFTP) write(ctx context.Context, g *guard, file *sftp.File, full string, from *source, size int64) (int64, error) {
	if err := file.Chmod(0o600); err != nil && !ignorable(err) {
		return 0, f.fail(ctx, "save", full, err)
	}
	_, err := file.ReadFromWithConcurrency(from, f.window())
	if from.err != nil && f.s.Err() == nil {
		return 0, fmt.Errorf("read what is to be stored as %s: %w", full, from.err)
	}
	if err != nil {
		return from.got, f.refine(f.fail(ctx, "save", full, err), size, f.stored(file))
	}
	if size >= 0 && from.got != size {
		return 0, &FileError{Op: "save", Path: full, Kind: FileShort, Err: fmt.Errorf("the source gave %d bytes, %d were announced", from.got, size)}
	}
	if f.has("fsync@openssh.com") {
		g.patient(fsyncPatience)
		err := file.Sync()
		g.patient(1)
		if err != nil {
			return from.got, f.refine(f.fail(ctx, "save", full, err), size, f.stored(file))
		}
	}
	info, err := file.Stat()
	if err != nil {
		return from.got, f.fail(ctx, "save", full, err)
	}
	if info.Size() != from.got {
		return from.got, &FileError{Op: "save", Path: full, Kind: FileShort, Err: fmt.Errorf("the server holds %d bytes, %d were sent", info.Size(), from.got)}
	}
	return from.got, nil
}

// stored is how much of a file that failed is at the server, 0 when unknown.
func (f *SFTP) stored(file *sftp.File) int64 {
	if f.s.Err() != nil {
		return 0
	}
	info, err := file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// rename gives the file its name. Only where the server has posix-rename a file
// of that name is replaced: asking a server without it can end the channel.
func (f *SFTP) rename(ctx context.Context, temp, full string) error {
	if f.has("posix-rename@openssh.com") {
		return f.fail(ctx, "save", full, f.client.PosixRename(temp, full))
	}
	err := f.client.Rename(temp, full)
	if err == nil {
		return nil
	}
	e := f.fail(ctx, "save", full, err)
	if fe, ok := errors.AsType[*FileError](e); ok && fe.Kind == FileOther {
		if _, there := f.client.Lstat(full); there == nil {
			fe.Kind = FileExists
		}
	}
	return e
}
