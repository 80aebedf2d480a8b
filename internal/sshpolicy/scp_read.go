package sshpolicy

import (
	"context"
	"errors"
	"io"
	"strings"
)

// scpReader reads a part of one file as scp sends it.
type scpReader struct {
	r     *scpRun
	left  int64 // bytes for the user
	after int64 // bytes of the file behind them
	err   error // sticky
}

// receive begins to read; errors name op.
func (f *SCP) receive(ctx context.Context, op, full string, offset, length int64) (*scpReader, error) {
	r, err := f.start(ctx, op, full, "scp -f "+quote(full))
	if err != nil {
		return nil, err
	}
	g := f.s.guard(ctx, r.m, false)
	defer g.release()
	size, err := r.accept()
	if err != nil {
		r.ch.close()
		return nil, r.fail(err)
	}
	reader := &scpReader{r: r}
	if length == -1 {
		length = max(0, size-offset)
	}
	if offset+length > size {
		reader.left, reader.err = 0, nil
		length = max(0, size-offset)
		reader.after = -1 // the file ends before what was asked for
	} else {
		reader.after = size - offset - length
	}
	reader.left = length
	if _, err := io.CopyN(io.Discard, r.out, min(offset, size)); err != nil {
		r.ch.close()
		return nil, r.fail(r.lost(err))
	}
	return reader, nil
}

// accept takes the file that scp announces and answers its size.
func (r *scpRun) accept() (int64, error) {
	if err := r.say("\x00"); err != nil {
		return 0, err
	}
	b, err := r.out.ReadByte()
	if err != nil {
		return 0, r.lost(err)
	}
	if b != 'C' {
		return 0, r.refused(b)
	}
	line, err := r.line()
	if err != nil {
		return 0, r.lost(err)
	}
	info, err := parseScpInfo(b, line)
	if err != nil {
		return 0, err
	}
	return info.size, r.say("\x00")
}

// Read implements io.Reader.
func (s *scpReader) Read(p []byte) (int, error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	g := s.r.f.s.guard(s.r.ctx, s.r.m, false)
	defer g.release()
	if s.left == 0 {
		s.err = s.end()
		return 0, s.err
	}
	n, err := s.r.out.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	s.r.f.s.got.Add(int64(n))
	if err != nil {
		s.err = s.r.fail(s.r.lost(err))
		if errors.Is(s.err, io.EOF) {
			s.err = &FileError{Op: s.r.op, Path: s.r.full, Kind: FileShort, Err: io.ErrUnexpectedEOF}
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, s.err
}

// end checks what scp says after the last byte, when that was read.
func (s *scpReader) end() error {
	switch {
	case s.after < 0:
		return &FileError{Op: s.r.op, Path: s.r.full, Kind: FileShort, Err: io.ErrUnexpectedEOF}
	case s.after > 0:
		return io.EOF // the rest is not wanted
	}
	err := s.r.ack() // "the file could not be read" comes here, after as many zeros
	if err == nil {
		err = s.r.say("\x00")
	}
	if err == nil {
		err = s.r.finish()
	}
	if err != nil {
		return s.r.fail(err)
	}
	return io.EOF
}

// scpDrain is how much of a file is read for nothing rather than ending the
// program in the middle.
const scpDrain = 4 << 20

// Close implements io.Closer.
func (s *scpReader) Close() error {
	if rest := s.left + max(0, s.after); s.err == nil && rest < scpDrain || errors.Is(s.err, io.EOF) && s.after > 0 && s.after < scpDrain {
		g := s.r.f.s.guard(s.r.ctx, s.r.m, false)
		if _, err := io.CopyN(io.Discard, s.r.out, rest); err == nil && s.r.ack() == nil && s.r.say("\x00") == nil {
			s.r.dismiss()
		}
		g.release()
	}
	s.r.ch.close()
	s.err = errReaderClosed
	return nil
}

// command runs a command of the shell; out, when not nil, gets at most 64 KiB of
// its output.
func (f *SCP) command(ctx context.Context, op, full, command string, out *strings.Builder) error {
	r, err := f.start(ctx, op, full, command)
	if err != nil {
		return err
	}
	defer r.ch.close()
	g := f.s.guard(ctx, r.m, true)
	defer g.release()
	g.patient(fsyncPatience) // a checksum of a big file takes long
	if err := r.ch.in.Close(); err != nil && !errors.Is(err, io.EOF) {
		return r.fail(err)
	}
	data, err := io.ReadAll(io.LimitReader(r.out, scpOutput))
	if err != nil {
		return r.fail(err)
	}
	if out != nil {
		out.Write(data)
	}
	if err := r.ch.ended(); err != nil {
		words := r.ch.err.String()
		if words == "" {
			words = err.Error()
		}
		return r.fail(&refusal{words})
	}
	return nil
}

// hasShell asks whether the account runs commands: a shell that is one puts two
// words together.
func (f *SCP) hasShell(ctx context.Context) (bool, error) {
	var out strings.Builder
	err := f.command(ctx, "start", "scp", "printf '%s-%s' allclear shell", &out)
	if err != nil && (f.s.Err() != nil || ctx.Err() != nil) {
		return false, err
	}
	if _, login := errors.AsType[*AuthError](err); login {
		return false, err
	}
	return err == nil && out.String() == "allclear-shell", nil
}

// quote makes one word of a path for the shell at the server, which scp is
// started by. A path that begins with "-" would be an option.
func quote(p string) string {
	if strings.HasPrefix(p, "-") {
		p = "./" + p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}
