package sshpolicy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// The protocol has no standard; this is what OpenSSH's scp.c does. The side
// that sends says "C0600 SIZE NAME", "D0700 0 NAME", "E" or "T..."; the other
// answers each, and each file's end, with a byte: 0 for good, 1 and a line for
// a refusal, 2 and a line for the end of everything.

const (
	scpLine   = 8 << 10   // bytes of a line; a name has at most 255
	scpBuffer = 256 << 10 // bytes of data handed on at once
	scpOutput = 64 << 10  // bytes of a command's output
	scpMaxAll = 1 << 20   // entries of one listing
)

// scpRun is one program at the server.
type scpRun struct {
	f        *SCP
	ctx      context.Context
	op, full string
	ch       *channel
	m        *meter
	in       io.Writer
	out      *bufio.Reader
}

// start runs a command. The caller holds a guard whenever it waits.
func (f *SCP) start(ctx context.Context, op, full, command string) (*scpRun, error) {
	r := &scpRun{f: f, ctx: ctx, op: op, full: full, m: newMeter()}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s %s: %w", op, full, context.Cause(ctx))
	}
	g := f.s.guard(ctx, r.m, true)
	defer g.release()
	ch, err := f.s.opener.open(ctx, command, false)
	if err != nil {
		return nil, r.fail(err)
	}
	r.ch, r.in, r.out = ch, meteredWriter{ch.in, r.m}, bufio.NewReaderSize(meteredReader{ch.out, r.m}, 32<<10)
	return r, nil
}

// refusal is what the program at the server said.
type refusal struct{ words string }

func (e *refusal) Error() string { return e.words }

// fail makes a *FileError.
func (r *scpRun) fail(err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*FileError](err); ours {
		return err
	}
	words, said := errors.AsType[*refusal](err)
	if !said {
		if e := r.f.s.ended(r.ctx, r.op, r.full, err); e != nil {
			return e
		}
		return &FileError{Op: r.op, Path: r.full, Kind: FileOther, Err: err}
	}
	e := &FileError{Op: r.op, Path: r.full, Err: err}
	e.Kind, e.Why = kindOfWords(words.words)
	return e
}

// say writes a line or a byte of the protocol.
func (r *scpRun) say(s string) error {
	_, err := io.WriteString(r.in, s)
	return r.lost(err)
}

// ack reads the answer of the other side.
func (r *scpRun) ack() error {
	b, err := r.out.ReadByte()
	if err != nil {
		return r.lost(err)
	}
	if b == 0 {
		return nil
	}
	return r.refused(b)
}

// refused reads the words after a byte that is no consent.
func (r *scpRun) refused(b byte) error {
	line, err := r.line()
	if err != nil && line == "" && b <= 2 {
		return r.lost(err)
	}
	if b > 2 { // it speaks no SCP: these are somebody's words
		return &refusal{fmt.Sprintf("said %q where SCP belongs", string(b)+line)}
	}
	r.dismiss() // the program ends by itself now
	return &refusal{strings.TrimSpace(line)}
}

// line reads up to a newline, made printable.
func (r *scpRun) line() (string, error) {
	raw, err := r.out.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(raw) > scpLine {
		return "", &refusal{"sent a line without an end where SCP belongs"}
	}
	return printable(strings.TrimRight(string(raw), "\r\n"), scpLine), err
}

// lost explains the end of a program in the middle, by its own last words.
func (r *scpRun) lost(err error) error {
	if err == nil || !errors.Is(err, io.EOF) {
		return err
	}
	if r.f.s.Err() != nil {
		return err
	}
	said, _ := io.ReadAll(io.LimitReader(r.out, 512)) // a write may have failed before these words were read
	r.ch.close()
	status := r.ch.ended()
	words := strings.TrimSpace(printable(strings.Trim(string(said), "\x00\x01\x02 \r\n"), 512) + " " + r.ch.err.String())
	if wantsNewPassword(words) {
		return expired(r.f.s, words)
	}
	if exit, ok := errors.AsType[*ssh.ExitError](status); ok {
		if words == "" {
			words = "no word"
		}
		return &refusal{fmt.Sprintf("the program at the server ended with status %d: %s", exit.ExitStatus(), words)}
	}
	if words != "" {
		return &refusal{words}
	}
	return err
}

// finish waits for the program and its exit status.
func (r *scpRun) finish() error {
	if err := r.ch.in.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.out, scpOutput)) // what comes after the last answer means nothing
	err := r.ch.ended()
	r.ch.close()
	if _, ok := errors.AsType[*ssh.ExitError](err); ok {
		return &refusal{"the program at the server said at its end: " + r.ch.err.String()}
	}
	return err
}

// dismiss lets a program end by itself whose status means nothing, because we
// refused what it wanted to send. AsyncSSH ends the whole connection when the
// channel is closed instead.
func (r *scpRun) dismiss() {
	_ = r.ch.in.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(r.out, scpOutput))
	_ = r.ch.ended()
}

// send stores size bytes of from at target; full is what errors call it.
func (f *SCP) send(ctx context.Context, full, target string, from io.Reader, size int64) (int64, error) {
	base := path.Base(full)
	if strings.ContainsFunc(base, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return 0, &FileError{Op: "save", Path: full, Kind: FileUnsupported, Err: errors.New("SCP cannot carry a name with control bytes")}
	}
	r, err := f.start(ctx, "save", full, "scp -t "+quote(target))
	if err != nil {
		return 0, err
	}
	defer r.ch.close()
	g := f.s.guard(ctx, r.m, false)
	defer g.release()
	src := &source{ctx: ctx, r: from, g: g, count: func(n int) { f.s.sent.Add(int64(n)) }}
	err = r.transfer(src, base, size)
	if src.err != nil && f.s.Err() == nil {
		return 0, fmt.Errorf("read what is to be stored as %s: %w", full, src.err)
	}
	if err != nil {
		return 0, f.refine(r.fail(err), size)
	}
	return src.got, nil
}

// transfer speaks the sending side for one file.
func (r *scpRun) transfer(src *source, base string, size int64) error {
	if err := r.ack(); err != nil {
		return err
	}
	if err := r.say(fmt.Sprintf("C0600 %d %s\n", size, base)); err != nil {
		return err
	}
	if err := r.ack(); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{r.in}, io.LimitReader(src, size), make([]byte, max(1, min(scpBuffer, size))))
	if err != nil {
		return r.lost(err)
	}
	if n < size {
		return &FileError{Op: r.op, Path: r.full, Kind: FileShort, Err: fmt.Errorf("the source gave %d bytes, %d were announced", n, size)}
	}
	if extra, _ := io.ReadFull(src, make([]byte, 1)); extra > 0 {
		return &FileError{Op: r.op, Path: r.full, Kind: FileShort, Err: fmt.Errorf("the source gave more than the %d bytes that were announced", size)}
	}
	if err := r.say("\x00"); err != nil {
		return err
	}
	if err := r.ack(); err != nil { // a disk that is full says so here
		return err
	}
	return r.finish()
}

// onlyWriter hides ReadFrom, so that the buffer of the copy is ours.
type onlyWriter struct{ io.Writer }

// refine adds the free space to the error of a full disk.
func (f *SCP) refine(err error, size int64) error {
	e, ok := errors.AsType[*FileError](err)
	if !ok || e.Kind != FileNoSpace && e.Kind != FileQuota {
		return err
	}
	e.Need = uint64(max(size, 0))
	return e
}

// sendFolders makes folders one below the other, all of them in one run.
func (f *SCP) sendFolders(ctx context.Context, parts []string) error {
	full := path.Join(f.folder, path.Join(parts...))
	r, err := f.start(ctx, "mkdir", full, "scp -r -t "+quote(f.folder))
	if err != nil {
		return err
	}
	defer r.ch.close()
	g := f.s.guard(ctx, r.m, true)
	defer g.release()
	if err := r.ack(); err != nil {
		return r.fail(err)
	}
	said := make([]string, 0, 2*len(parts))
	for _, name := range parts {
		said = append(said, "D0700 0 "+name+"\n")
	}
	for range parts {
		said = append(said, "E\n")
	}
	for _, line := range said {
		err := r.say(line)
		if err == nil {
			err = r.ack()
		}
		if err != nil {
			return r.fail(err)
		}
	}
	return r.fail(r.finish())
}

// tree lets scp walk over full and shows each entry to visit with its depth, 0
// for full itself. visit answers whether to go into a folder. No content is
// sent: every file is refused.
func (f *SCP) tree(ctx context.Context, op, full string, visit func(depth int, info scpInfo) bool) error {
	r, err := f.start(ctx, op, full, "scp -p -r -f "+quote(full))
	if err != nil {
		return err
	}
	defer r.ch.close()
	g := f.s.guard(ctx, r.m, true)
	defer g.release()
	if err := r.say("\x00"); err != nil {
		return r.fail(err)
	}
	return r.fail(r.walk(visit))
}

func (r *scpRun) walk(visit func(depth int, info scpInfo) bool) error {
	depth := 0
	var modified time.Time
	for range scpMaxAll {
		b, err := r.out.ReadByte()
		if err != nil {
			return r.lost(err)
		}
		if b == 1 && depth > 0 { // about one entry, such as a file without rights
			if _, err := r.line(); err != nil {
				return r.lost(err)
			}
			continue
		}
		if b <= 2 {
			return r.refused(b)
		}
		line, err := r.line()
		if err != nil {
			return r.lost(err)
		}
		answer := "\x00"
		switch b {
		case 'T':
			seconds, _, ok := strings.Cut(line, " 0 ")
			n, err := strconv.ParseInt(seconds, 10, 64)
			if !ok || err != nil { // such as "This service allows sftp connections only."
				return &refusal{fmt.Sprintf("said %q where SCP belongs", string(b)+line)}
			}
			modified = time.Unix(n, 0)
		case 'E':
			depth--
		case 'C', 'D':
			info, err := parseScpInfo(b, line)
			if err != nil {
				return err
			}
			info.modified, modified = modified, time.Time{}
			if visit(depth, info) && b == 'D' {
				depth++
			} else {
				answer = "\x01not now\n"
			}
		default:
			return &refusal{fmt.Sprintf("said %q where SCP belongs", string(b)+line)}
		}
		if err := r.say(answer); err != nil {
			return err
		}
		if depth == 0 && b != 'T' { // the entry itself was all, or its end
			r.dismiss()
			return nil
		}
	}
	return &refusal{fmt.Sprintf("lists more than %d entries", scpMaxAll)}
}

// scpInfo is what SCP tells of a file; it implements fs.FileInfo.
type scpInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (i scpInfo) Name() string       { return i.name }
func (i scpInfo) Size() int64        { return i.size }
func (i scpInfo) Mode() fs.FileMode  { return i.mode }
func (i scpInfo) ModTime() time.Time { return i.modified }
func (i scpInfo) IsDir() bool        { return i.mode.IsDir() }
func (i scpInfo) Sys() any           { return nil }

// parseScpInfo reads "0644 123 name", what stands after the C or D.
func parseScpInfo(kind byte, line string) (scpInfo, error) {
	mode, rest, _ := strings.Cut(line, " ")
	size, name, ok := strings.Cut(rest, " ")
	bits, err := strconv.ParseUint(mode, 8, 12)
	n, err2 := strconv.ParseInt(size, 10, 63)
	if !ok || err != nil || err2 != nil || n < 0 || name == "" || strings.ContainsRune(name, '/') {
		return scpInfo{}, &refusal{fmt.Sprintf("said %q where SCP describes a file", printable(string(kind)+line, 200))}
	}
	info := scpInfo{name: name, size: n, mode: fs.FileMode(bits & 0o777)}
	if kind == 'D' {
		info.mode |= fs.ModeDir
	}
	return info, nil
}
