// Package stream carries what is restored from the agent, which may read the
// copies, to the process that may write the files: entries with their metadata,
// their content in pieces, what could not be read, and an end that says that
// nothing is missing.
//
// The form is ours and lasts no longer than one request; archives that are kept
// are the matter of package archive. What is done with an entry is that of
// package extract.
//
//	stream = magic frame*
//	frame  = kind (1 byte) length (4 bytes, big endian) payload
//
// The kinds, in order: S once, then for each thing an E, after which a regular
// file has D for each piece and F at its end, or X at any place when the rest of
// the thing cannot be read; Z once at the end, or A when the sender gives up. A
// stream without Z is not whole. The sum at the end of a file is against defects
// of ours: that nobody changes anything is the connection's business.
package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// ContentType is what the stream is called in HTTP.
const ContentType = "application/vnd.allclear.restore"

const magic = "allclear restore 1\n"

// Kinds of frames.
const (
	kindSnapshot = 'S' // wire.BackupSnapshot
	kindEntry    = 'E' // header
	kindData     = 'D' // a piece of the content
	kindFileEnd  = 'F' // CRC-32C of the content
	kindProblem  = 'X' // Problem
	kindEnd      = 'Z' // End
	kindAbort    = 'A' // Problem
)

// Bounds of the payloads in bytes.
const (
	maxPiece  = 256 << 10
	maxHeader = 4 << 20 // extended attributes are at most 512 KiB, and grow in JSON
)

// ErrIncomplete says that the stream ended before its end was sent.
var ErrIncomplete = errors.New("the restore stream ended early: something is missing")

// Problem is a thing that the copy no longer gives.
type Problem struct {
	Path []byte `json:"path,omitempty"`
	Text string `json:"text"`
}

// ProblemError is a Problem that the sender has met.
type ProblemError struct{ Path, Text string }

func (e *ProblemError) Error() string {
	if e.Path == "" {
		return e.Text
	}
	return fmt.Sprintf("%q: %s", e.Path, e.Text)
}

// End counts what was sent.
type End struct {
	Entries  int64 `json:"entries"`
	Bytes    int64 `json:"bytes"`
	Problems int64 `json:"problems"`
}

// header is an entry. Names are raw bytes, which JSON strings cannot hold.
type header struct {
	Path       []byte      `json:"path"`
	HardLink   []byte      `json:"hard_link,omitempty"`
	Type       string      `json:"type"`
	Mode       fs.FileMode `json:"mode"`
	ModTime    time.Time   `json:"mtime"`
	AccessTime time.Time   `json:"atime"`
	ChangeTime time.Time   `json:"ctime"`
	UID        uint32      `json:"uid"`
	GID        uint32      `json:"gid"`
	User       string      `json:"user,omitempty"`
	Group      string      `json:"group,omitempty"`
	Inode      uint64      `json:"inode,omitempty"`
	DeviceID   uint64      `json:"device_id,omitempty"`
	Links      uint64      `json:"links,omitempty"`
	Size       int64       `json:"size,omitempty"`
	LinkTarget []byte      `json:"link_target,omitempty"`
	Device     uint64      `json:"device,omitempty"`
	Xattrs     []xattr     `json:"xattrs,omitempty"`
}

type xattr struct {
	Name  []byte `json:"name"`
	Value []byte `json:"value"`
}

func headerOf(e *extract.Entry) header {
	m := &e.Meta
	h := header{
		Path: []byte(e.Path), HardLink: []byte(e.HardLink), Type: string(m.Type), Mode: m.Mode,
		ModTime: m.ModTime, AccessTime: m.AccessTime, ChangeTime: m.ChangeTime, UID: m.UID, GID: m.GID, User: m.User, Group: m.Group,
		Inode: m.Inode, DeviceID: m.DeviceID, Links: m.Links, Size: m.Size, LinkTarget: []byte(m.LinkTarget), Device: m.Device,
	}
	for _, x := range m.Xattrs {
		h.Xattrs = append(h.Xattrs, xattr{[]byte(x.Name), x.Value})
	}
	return h
}

func (h *header) entry() *extract.Entry {
	e := &extract.Entry{Path: string(h.Path), HardLink: string(h.HardLink), Meta: source.Meta{
		Type: source.Type(h.Type), Mode: h.Mode, ModTime: h.ModTime, AccessTime: h.AccessTime, ChangeTime: h.ChangeTime,
		UID: h.UID, GID: h.GID, User: h.User, Group: h.Group, Inode: h.Inode, DeviceID: h.DeviceID, Links: h.Links,
		Size: h.Size, LinkTarget: string(h.LinkTarget), Device: h.Device,
	}}
	for _, x := range h.Xattrs {
		e.Meta.Xattrs = append(e.Meta.Xattrs, source.Xattr{Name: string(x.Name), Value: x.Value})
	}
	return e
}

// hasContent claims that content follows the entry.
func hasContent(e *extract.Entry) bool {
	return e.Meta.Type == source.Regular && e.HardLink == "" && e.Meta.Size > 0
}

// Snapshot is where the entries come from.
type Snapshot = wire.BackupSnapshot
