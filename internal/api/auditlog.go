package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"allclear/internal/wire"
)

// AuditLog is who asked for which change: a file of JSON lines that is only
// ever appended to. At auditSize it becomes NAME.1, which replaces the one
// before.
type AuditLog struct {
	path string

	mu   sync.Mutex // guards file and size
	file *os.File
	size int64
}

// auditSize is where the file is turned over, in bytes: some forty thousand
// changes.
const auditSize = 8 << 20

// OpenAudit opens the file in dir, mode 0600, and makes it if it is missing.
func OpenAudit(dir string) (*AuditLog, error) {
	a := &AuditLog{path: filepath.Join(dir, "audit.jsonl")}
	return a, a.open()
}

func (a *AuditLog) open() error {
	f, err := os.OpenFile(a.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit log: %w", err), f.Close())
	}
	a.file, a.size = f, info.Size()
	return a.mend()
}

// mend ends a line that a power cut left open, so that the next one is whole.
func (a *AuditLog) mend() error {
	if a.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := a.file.ReadAt(last, a.size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err := a.file.Write([]byte{'\n'})
	a.size++
	return err
}

// Append writes the entry and returns when it is on disk.
func (a *AuditLog) Append(e wire.AuditEntry) error {
	e.At = e.At.UTC()
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write an audit entry: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.size > auditSize {
		if err := a.turn(); err != nil {
			return err
		}
	}
	n, err := a.file.Write(append(b, '\n'))
	a.size += int64(n)
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write an audit entry: %w", err)
	}
	return nil
}

// turn begins a new file. The lock is held.
func (a *AuditLog) turn() error {
	if err := os.Rename(a.path, a.path+".1"); err != nil {
		return fmt.Errorf("turn over the audit log: %w", err)
	}
	old := a.file
	if err := a.open(); err != nil {
		return err
	}
	return old.Close()
}

// Recent returns the newest n entries, newest first. Lines that cannot be read
// are counted in damaged.
func (a *AuditLog) Recent(n int) (entries []wire.AuditEntry, damaged int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, path := range []string{a.path, a.path + ".1"} {
		lines, err := tail(path, n-len(entries)+1)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return entries, damaged, fmt.Errorf("read the audit log: %w", err)
		}
		for i := len(lines) - 1; i >= 0 && len(entries) < n; i-- {
			var e wire.AuditEntry
			if json.Unmarshal(lines[i], &e) != nil {
				damaged++
				continue
			}
			entries = append(entries, e)
		}
	}
	return entries, damaged, nil
}

// auditLine bounds an entry: reasons and targets are bounded far below.
const auditLine = 8 << 10

// tail returns at most n whole lines from the end of a file.
func tail(path string, n int) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-int64(n)*auditLine)
	b, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return nil, err
	}
	if from > 0 {
		_, b, _ = bytes.Cut(b, []byte{'\n'}) // the first may be cut
	}
	var lines [][]byte
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):], nil
}

// Close closes the file.
func (a *AuditLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}
