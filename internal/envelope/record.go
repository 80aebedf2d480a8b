package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"allclear/internal/atomicfile"
)

// maxRecord bounds the content of a [Record], in bytes.
const maxRecord = 256 << 10

// recordMode is the mode of every file here.
const recordMode = 0o600

// Record is a small content kept twice, in NAME.0 and NAME.1, so that one damaged copy costs nothing. Each copy is
//
//	allclear KIND 1 NUMBER
//	CONTENT
//	sha256 HEX
//
// with the hash over all before its line. NUMBER grows by one with every Write; of two whole copies the higher one
// counts. A Record keeps nothing in memory and has no lock: who owns it lets one caller at a time in.
type Record struct {
	root *os.Root
	name string
	kind string
	fail func(step string) error
}

// NewRecord answers the record of that name below root, whether it exists or not. The kind is one word.
func NewRecord(root *os.Root, name, kind string) *Record {
	return &Record{root: root, name: name, kind: kind, fail: noFailpoint}
}

// WithFailpoint calls f before each step of writing, with "NAME.0" or "NAME.1", and once both are there, with
// "NAME.done"; its error makes the step fail. It is for tests of what a crash leaves.
func (r *Record) WithFailpoint(f func(step string) error) *Record {
	if f != nil {
		r.fail = f
	}
	return r
}

func noFailpoint(string) error { return nil }

// version is a copy that was read.
type version struct {
	number  uint64
	content []byte
	err     error // why there is none
}

// Read answers the content, [fs.ErrNotExist] if there never was one, or a *[DamageError] if no copy is whole.
func (r *Record) Read() ([]byte, error) {
	v := r.copies()
	best, err := r.best(v)
	if err != nil {
		return nil, err
	}
	return v[best].content, nil
}

// Whole answers how many copies hold the present content: 2, or 1 when one is missing, damaged or old, or 0.
func (r *Record) Whole() int {
	v := r.copies()
	best, err := r.best(v)
	if err != nil {
		return 0
	}
	n := 0
	for _, c := range v {
		if c.err == nil && c.number == v[best].number && bytes.Equal(c.content, v[best].content) {
			n++
		}
	}
	return n
}

// Write replaces the content of at most 256 KiB. When it returns nil both copies are durable. If only the second could
// not be written the error is [ErrOneCopy]: the new content counts, and Repair completes it. On any other error the old
// one counts, unless the error tells that it may have been replaced (see [atomicfile.Write]).
func (r *Record) Write(content []byte) error {
	if len(content) > maxRecord {
		return fmt.Errorf("write %s: %d bytes are more than %d", r.name, len(content), maxRecord)
	}
	v := r.copies()
	best, err := r.best(v)
	next := uint64(1)
	switch {
	case err == nil:
		next = v[best].number + 1
	case !errors.Is(err, fs.ErrNotExist):
		return err // never write over what somebody may still rescue
	}
	return r.put(best, next, content)
}

// Repair writes a damaged, missing or old copy anew from the one that counts. It answers whether there was one.
func (r *Record) Repair() (bool, error) {
	v := r.copies()
	best, err := r.best(v)
	if err != nil {
		return false, err
	}
	other := v[1-best]
	if other.err == nil && other.number == v[best].number && bytes.Equal(other.content, v[best].content) {
		return false, nil
	}
	if err := r.file(1-best, v[best].number, v[best].content); err != nil {
		return true, err
	}
	return true, nil
}

// Remove removes both copies. Nothing to remove is no error.
func (r *Record) Remove() error {
	var failed error
	for i := range 2 {
		if err := r.root.Remove(r.file0(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("remove %s: %w", r.file0(i), err))
		}
	}
	return failed
}

// put writes both copies, the one that does not count first.
func (r *Record) put(best int, number uint64, content []byte) error {
	if err := r.file(1-best, number, content); err != nil {
		return err
	}
	if err := r.file(best, number, content); err != nil {
		return errors.Join(ErrOneCopy, err)
	}
	return r.fail(r.name + ".done")
}

func (r *Record) file(i int, number uint64, content []byte) error {
	if err := r.fail(r.file0(i)); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "allclear %s 1 %d\n", r.kind, number)
	b.Write(content)
	b.WriteByte('\n')
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "sha256 %s\n", hex.EncodeToString(sum[:]))
	return atomicfile.Write(r.root, r.file0(i), recordMode, b.Bytes())
}

func (r *Record) file0(i int) string { return r.name + "." + strconv.Itoa(i) }

func (r *Record) copies() [2]version {
	return [2]version{r.read(0), r.read(1)}
}

// best answers which copy counts.
func (r *Record) best(v [2]version) (int, error) {
	switch {
	case v[0].err == nil && (v[1].err != nil || v[0].number >= v[1].number):
		return 0, nil
	case v[1].err == nil:
		return 1, nil
	case errors.Is(v[0].err, fs.ErrNotExist) && errors.Is(v[1].err, fs.ErrNotExist):
		return 0, fmt.Errorf("read %s: %w", r.name, fs.ErrNotExist)
	}
	return 0, &DamageError{Name: r.name, Err: errors.Join(v[0].err, v[1].err)}
}

func (r *Record) read(i int) version {
	f, err := r.root.Open(r.file0(i))
	if err != nil {
		return version{err: err}
	}
	defer f.Close()
	const room = 256 // for the first and the last line
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+room+1))
	if err != nil {
		return version{err: err}
	}
	v := parseRecord(b, r.kind)
	if v.err != nil {
		v.err = fmt.Errorf("%s: %w", r.file0(i), v.err)
	}
	return v
}

// parseRecord reads one copy.
func parseRecord(b []byte, kind string) version {
	const tail = len("sha256 ") + 2*sha256.Size + 1
	if len(b) > maxRecord+256 {
		return version{err: fmt.Errorf("it has more than %d bytes", maxRecord)}
	}
	if len(b) < tail {
		return version{err: fmt.Errorf("it has %d bytes, fewer than its last line", len(b))}
	}
	body := b[:len(b)-tail]
	sum := sha256.Sum256(body)
	if string(b[len(b)-tail:]) != "sha256 "+hex.EncodeToString(sum[:])+"\n" {
		return version{err: errors.New("its checksum is wrong")}
	}
	head, rest, ok := bytes.Cut(body, []byte("\n"))
	if !ok || len(rest) == 0 {
		return version{err: errors.New("it has no content")}
	}
	digits, ok := strings.CutPrefix(string(head), "allclear "+kind+" 1 ")
	if !ok {
		return version{err: fmt.Errorf("its first line is not that of a %s", kind)}
	}
	number, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || number == 0 || strconv.FormatUint(number, 10) != digits {
		return version{err: errors.New("its number is wrong")}
	}
	return version{number: number, content: rest[:len(rest)-1]}
}
