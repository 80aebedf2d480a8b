package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// stretch is how long noise and text take turns, in bytes.
const stretch = 8 << 20

// makeLarge writes one file of size bytes, half noise, half text.
func makeLarge(dir string, size int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	chacha := rand.NewChaCha8([32]byte{1})
	r := rand.New(chacha)
	words := vocabulary(r)
	for at := int64(0); at < size && err == nil; at += 2 * stretch {
		half := min(stretch, (size-at)/2)
		if _, err = io.CopyN(w, chacha, half); err == nil {
			err = text(w, r, words, half)
		}
	}
	return errors.Join(err, w.Flush(), f.Close())
}

// vocabulary makes words. That of a program's messages has some thousands, of
// which few make up most of a text.
func vocabulary(r *rand.Rand) [][]byte {
	words := make([][]byte, 5_000)
	for i := range words {
		word := make([]byte, 2+r.IntN(9))
		for j := range word {
			word[j] = 'a' + byte(r.IntN(26))
		}
		words[i] = append(word, ' ')
	}
	return words
}

// text writes lines as logs have them: a time, a host, a program and words. zstd
// makes a third to a quarter of them, as of source text.
func text(w io.Writer, r *rand.Rand, words [][]byte, size int64) error {
	zipf := rand.NewZipf(r, 1.1, 4, uint64(len(words)-1))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var line []byte
	for size > 0 {
		at = at.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
		line = at.AppendFormat(line[:0], "2006-01-02T15:04:05.000Z")
		line = fmt.Appendf(line, " host%d %s[%d]: ", r.IntN(8), words[r.IntN(40)], 300+r.IntN(200))
		for range 6 + r.IntN(8) {
			line = append(line, words[zipf.Uint64()]...)
		}
		line = append(line, '\n')
		line = line[:min(int64(len(line)), size)]
		if _, err := w.Write(line); err != nil {
			return err
		}
		size -= int64(len(line))
	}
	return nil
}

// Small files lie a hundred to a folder.
const (
	smallSize = 4 << 10
	perFolder = 100
)

// makeSmall writes n files of text and numbers, each different.
func makeSmall(dir string, n int) error {
	r := rand.New(rand.NewChaCha8([32]byte{2}))
	words := vocabulary(r)
	for i := range n {
		folder := filepath.Join(dir, strconv.Itoa(i/perFolder))
		if i%perFolder == 0 {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return err
			}
		}
		var b bytes.Buffer
		if err := text(&b, r, words, smallSize/2); err != nil {
			return err
		}
		noise := make([]byte, smallSize-b.Len())
		for j := range noise {
			noise[j] = byte(r.Uint32())
		}
		b.Write(noise)
		if err := os.WriteFile(filepath.Join(folder, strconv.Itoa(i%perFolder)), b.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sizeOf is how many bytes the files in a folder have.
func sizeOf(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// equal says in what a restored tree differs from its source. What was measured
// must also have been done.
func equal(want, got string) error {
	n := 0
	err := filepath.WalkDir(want, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, err := filepath.Rel(want, name)
		if err != nil {
			return err
		}
		a, err := hashOf(name)
		if err != nil {
			return err
		}
		b, err := hashOf(filepath.Join(got, rel))
		if err == nil && a != b {
			err = fmt.Errorf("%s came back with other content", rel)
		}
		return err
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("nothing is in %s", want)
	}
	return err
}

func hashOf(name string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), errors.Join(err, f.Close())
}
