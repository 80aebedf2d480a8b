package sshpolicy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Origin says how a key came into a Store; it stands in the line's comment.
type Origin string

// The origins. A key of OriginMatched is no pin of its own: it only remembers
// which type a bare fingerprint turned out to be, so that the next look asks
// for it at once.
const (
	OriginFirstSeen Origin = "first-seen" // trust-first: nobody compared it
	OriginTrusted   Origin = "trusted"    // an operator said so
	OriginMatched   Origin = "matched-pin"
)

// Known is one line of a Store.
type Known struct {
	Pin    Pin
	Origin Origin
}

// Store is a known_hosts file of our own, in the state directory. OpenSSH can
// read it too. It is safe for use by several goroutines, but one process owns
// the file.
type Store struct {
	path string

	mu    sync.Mutex // guards the fields below
	hosts map[string][]Known
	lines []string
}

// OpenStore reads the file, or starts empty when there is none. A line that
// cannot be read is an error with its number: dropping it would silently turn a
// pinned key into an unknown one.
func OpenStore(path string) (*Store, error) {
	s := &Store{path: path, hosts: map[string][]Known{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	in := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			s.lines = append(s.lines, in.Text())
			continue
		}
		marker, hosts, key, comment, _, err := ssh.ParseKnownHosts([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("known hosts %s, line %d: %w", path, n, err)
		}
		if marker != "" {
			return nil, fmt.Errorf("known hosts %s, line %d: @%s is not for this file", path, n, marker)
		}
		s.lines = append(s.lines, line)
		for _, h := range hosts {
			s.hosts[h] = append(s.hosts[h], Known{Pin: PinOf(key), Origin: originOf(comment)})
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("known hosts %s: %w", path, err)
	}
	return s, nil
}

func originOf(comment string) Origin {
	switch o := Origin(strings.TrimSpace(comment)); o {
	case OriginFirstSeen, OriginMatched:
		return o
	}
	return OriginTrusted // written by hand or by another program
}

// Pins are the keys that count for the address ("host:port").
func (s *Store) Pins(addr string) []Pin {
	return s.pins(addr, func(o Origin) bool { return o != OriginMatched })
}

// TypeHints are the key types to ask for first at the address.
func (s *Store) TypeHints(addr string) []string {
	var types []string
	for _, p := range s.pins(addr, func(o Origin) bool { return o == OriginMatched }) {
		types = append(types, p.Type)
	}
	return types
}

func (s *Store) pins(addr string, want func(Origin) bool) []Pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pins []Pin
	for _, k := range s.hosts[knownhosts.Normalize(addr)] {
		if want(k.Origin) {
			pins = append(pins, k.Pin)
		}
	}
	return pins
}

// Known are all keys of the address with their origin.
func (s *Store) Known(addr string) []Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Known(nil), s.hosts[knownhosts.Normalize(addr)]...)
}

// Add remembers a key of the address and writes the file: a temporary file
// beside it, fsync, rename, fsync of the directory. A key that is there with
// the same origin changes nothing. After an error the store answers as before.
func (s *Store) Add(addr string, key ssh.PublicKey, o Origin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, k := knownhosts.Normalize(addr), Known{Pin: PinOf(key), Origin: o}
	for _, have := range s.hosts[host] {
		if have == k {
			return nil
		}
	}
	lines := append(append([]string(nil), s.lines...), knownHostsLine(addr, plainKey(key), string(o)))
	if err := writeLines(s.path, lines); err != nil {
		return fmt.Errorf("remember the host key of %s: %w", addr, err)
	}
	s.lines = lines
	s.hosts[host] = append(s.hosts[host], k)
	return nil
}

// Forget drops every key of the address that has this origin; the file is
// written as by Add.
func (s *Store) Forget(addr string, o Origin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := knownhosts.Normalize(addr)
	var lines []string
	for _, line := range s.lines {
		_, hosts, _, comment, _, err := ssh.ParseKnownHosts([]byte(line))
		if err == nil && len(hosts) == 1 && hosts[0] == host && originOf(comment) == o {
			continue
		}
		lines = append(lines, line)
	}
	if len(lines) == len(s.lines) {
		return nil
	}
	if err := writeLines(s.path, lines); err != nil {
		return fmt.Errorf("forget the host key of %s: %w", addr, err)
	}
	s.lines = lines
	var kept []Known
	for _, k := range s.hosts[host] {
		if k.Origin != o {
			kept = append(kept, k)
		}
	}
	s.hosts[host] = kept
	return nil
}

func knownHostsLine(addr string, key ssh.PublicKey, comment string) string {
	line := knownhosts.Line([]string{addr}, key)
	if comment != "" {
		line += " " + comment
	}
	return line
}

func writeLines(path string, lines []string) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".known_hosts-") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
