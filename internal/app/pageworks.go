package app

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/stream"
	"allclear/internal/web"
	"allclear/internal/wire"
)

// works lets the page use what subsystems show and do, each with the role that
// it asks for at the socket.
type works struct{ agent worker }

// worker is the agent as far as works needs it.
type worker interface {
	Subsystems() []subsystem.Subsystem
	Do(ctx context.Context, subsystem, action string, in json.RawMessage, progress func(wire.Progress)) (any, []fault.Event, error)
}

func allowed(need, have api.Role) error {
	if !need.Allows(have) {
		return fmt.Errorf("%w: it needs %s, not %s", web.ErrRole, need, have)
	}
	return nil
}

func (w works) View(ctx context.Context, role api.Role, name, path string, q url.Values) (any, error) {
	for _, s := range w.agent.Subsystems() {
		shower, ok := s.(subsystem.Shower)
		if !ok || s.Name() != name {
			continue
		}
		for _, v := range shower.Views() {
			if strings.Trim(v.Path, "/") != path {
				continue
			}
			if err := allowed(v.Role, role); err != nil {
				return nil, err
			}
			return v.Get(ctx, q)
		}
	}
	return nil, fmt.Errorf("%w: %s/%s", web.ErrNoWork, name, path)
}

func (w works) Do(ctx context.Context, role api.Role, name, action string, in any, tell func(wire.Progress)) (any, error) {
	act, err := w.action(name, action)
	if err != nil {
		return nil, err
	}
	if err := allowed(act.Role, role); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	out, _, err := w.agent.Do(ctx, name, action, raw, tell)
	return out, err
}

func (w works) action(name, action string) (subsystem.Action, error) {
	for _, s := range w.agent.Subsystems() {
		actor, ok := s.(subsystem.Actor)
		if !ok || s.Name() != name {
			continue
		}
		for _, act := range actor.Actions() {
			if act.Name == action {
				return act, nil
			}
		}
	}
	return subsystem.Action{}, fmt.Errorf("%w: %s/%s", web.ErrNoWork, name, action)
}

// Restore takes the stream that the command line gets apart: a browser wants a
// file as it is, or a tar archive.
func (w works) Restore(ctx context.Context, role api.Role, what web.Restore, open func(web.Restored) (io.Writer, error)) error {
	for _, s := range w.agent.Subsystems() {
		d, ok := s.(subsystem.Downloader)
		if !ok {
			continue
		}
		for _, d := range d.Downloads() {
			if d.Type != stream.ContentType {
				continue
			}
			if err := allowed(d.Role, role); err != nil {
				return err
			}
			return restoreTo(ctx, d, what, open)
		}
	}
	return fmt.Errorf("%w: restore", web.ErrNoWork)
}

func restoreTo(ctx context.Context, d subsystem.Download, what web.Restore, open func(web.Restored) (io.Writer, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	q := url.Values{"job": {what.Job}, "snapshot": {what.Snapshot}}
	if what.Path != "/" {
		q.Set("path", what.Path)
	}
	out, in := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := d.Send(ctx, q, in)
		in.CloseWithError(err)
		sent <- err
	}()
	err := unpack(out, strings.Trim(what.Path, "/"), open)
	if err != nil { // the sender, if it is still at work, may stop
		out.CloseWithError(err)
		cancel()
	}
	failed := <-sent
	cancel()
	if err == nil || errors.Is(err, failed) {
		return failed // in its own words
	}
	return err
}

// unpack writes what a restore stream has of one path.
func unpack(from io.Reader, want string, open func(web.Restored) (io.Writer, error)) error {
	in, err := stream.NewReader(from)
	if err != nil {
		return err
	}
	var folder *tar.Writer
	begun := false
	for e, err := range in.Entries() {
		switch {
		case err != nil:
			return err
		case folder != nil:
			err = pack(folder, e)
		case e.Path == want && e.HardLink != "":
			return fmt.Errorf("%q is another name of %q: restore that one, or their folder", "/"+want, "/"+e.HardLink)
		case e.Path == want && e.Meta.Type == source.Regular:
			begun = true
			err = oneFile(e, open)
		case e.Path == want && e.Meta.Type != source.Dir:
			return fmt.Errorf("%q is a %s: only files and folders are sent to a browser", "/"+want, e.Meta.Type)
		case e.Path == want || want == "":
			begun = true
			if folder, err = newFolder(want, open); err == nil {
				err = pack(folder, e)
			}
		}
		if err != nil {
			return err
		}
	}
	if _, whole := in.End(); !whole {
		return stream.ErrIncomplete
	}
	if !begun {
		return fmt.Errorf("the copy holds no %q", "/"+want)
	}
	if folder != nil {
		return folder.Close()
	}
	return nil
}

func oneFile(e *extract.Entry, open func(web.Restored) (io.Writer, error)) error {
	w, err := open(web.Restored{Name: path.Base(e.Path), Size: e.Meta.Size})
	if err != nil || e.Content == nil {
		return err
	}
	n, err := io.Copy(w, e.Content)
	if err == nil && n != e.Meta.Size {
		err = fmt.Errorf("%q has %d bytes of %d", "/"+e.Path, n, e.Meta.Size)
	}
	return err
}

func newFolder(want string, open func(web.Restored) (io.Writer, error)) (*tar.Writer, error) {
	name := ""
	if want != "" {
		name = path.Base(want)
	}
	w, err := open(web.Restored{Name: name, Folder: true, Size: -1})
	if err != nil {
		return nil, err
	}
	return tar.NewWriter(w), nil
}

// pack adds an entry to a tar archive: what people need who look at files on
// another machine. Extended attributes and devices are for "allclear backup
// restore".
func pack(to *tar.Writer, e *extract.Entry) error {
	m := &e.Meta
	h := &tar.Header{
		Format: tar.FormatPAX, Name: e.Path, Mode: int64(m.Mode.Perm()), Uid: int(m.UID), Gid: int(m.GID),
		Uname: m.User, Gname: m.Group, ModTime: m.ModTime.Truncate(time.Second),
	}
	switch {
	case m.Type == source.Dir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case m.Type == source.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.LinkTarget
	case m.Type == source.Regular && e.HardLink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.HardLink
	case m.Type == source.Regular:
		h.Typeflag, h.Size = tar.TypeReg, m.Size
	default:
		return nil
	}
	if err := extract.CheckName(e.Path); err != nil {
		return err
	}
	if err := to.WriteHeader(h); err != nil {
		return fmt.Errorf("%q: %w", "/"+e.Path, err)
	}
	if e.Content == nil {
		return nil
	}
	_, err := io.Copy(to, e.Content)
	return err
}
