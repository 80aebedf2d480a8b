package web

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"allclear/internal/wire"
)

// copiesBody is the list of a job's copies, as the target has them now.
type copiesBody struct {
	Job    wire.BackupJob
	Copies []copyRow
	Left   int
	Why    string // they could not be listed
}

type copyRow struct {
	wire.BackupSnapshot
	Link, Name string
}

const maxCopies = 1000 // rows of the page

// copies asks the target which copies there are: it connects.
func (w *Web) copies(rw http.ResponseWriter, r *http.Request, s *session) error {
	job, err := w.jobOf(r, s)
	if err != nil {
		return err
	}
	ctx, cancel := asked(r)
	defer cancel()
	b := copiesBody{Job: job}
	list, err := do[wire.List[wire.BackupSnapshot]](ctx, w, r, s, backupName, "snapshots", job.Name, wire.BackupJobRequest{Job: job.Name})
	status := http.StatusOK
	if err != nil {
		b.Why, status = err.Error(), http.StatusBadGateway
	}
	for _, c := range list.Items {
		b.Copies = append(b.Copies, copyRow{c, copyLink(job.Name, c.ID), brief(c.ID)})
	}
	if b.Left = max(0, len(b.Copies)-maxCopies); b.Left > 0 {
		b.Copies = b.Copies[:maxCopies]
	}
	p := w.page(r, s, "backups", "Copies of "+visible(job.Name))
	p.Body = b
	w.render(rw, status, "copies", p)
	return nil
}

func copyLink(job, id string) string {
	return "/backups/" + url.PathEscape(job) + "/copies/" + url.PathEscape(id)
}

// filesBody is a folder of a copy, or what a search in it found.
type filesBody struct {
	Job         wire.BackupJob
	Copy, Name  string
	Link        string // of the copy's root
	Path, Match string
	Below       string // the path as a form carries it: a field changes line breaks and odd bytes
	Crumbs      []crumb
	Files       []fileRow
	Left        bool // there are more than are shown
	Why         string
	Tar         string // the link that restores the folder
}

type crumb struct{ Name, Link string }

type fileRow struct {
	wire.BackupFile
	Base, Shown   string
	Open, Restore string // links; "" where there is none
}

const (
	maxFiles = 1000    // rows of the page
	maxPath  = 4 << 10 // bytes of a path in a request, as Linux has it
)

// files lists one folder of a copy, or searches below it. It reads the copy at
// the target.
func (w *Web) files(rw http.ResponseWriter, r *http.Request, s *session) error {
	job, err := w.jobOf(r, s)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	b := filesBody{Job: job, Copy: r.PathValue("copy"), Path: folderOf(q), Match: strings.TrimSpace(q.Get("match"))}
	b.Below = url.QueryEscape(b.Path)
	if len(b.Path) > maxPath || len(b.Match) > maxPath {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: "A path has at most " + strconv.Itoa(maxPath) + " bytes."}}
	}
	b.Name, b.Link = brief(b.Copy), copyLink(job.Name, b.Copy)
	b.Crumbs, b.Tar = crumbs(b.Link, b.Path), restoreLink(b.Link, b.Path)
	ctx, cancel := asked(r)
	defer cancel()
	req := wire.BackupListRequest{Job: job.Name, Snapshot: b.Copy, Path: b.Path, Match: pattern(b.Match), Limit: maxFiles + 1}
	list, err := do[wire.List[wire.BackupFile]](ctx, w, r, s, backupName, "list", job.Name+" "+b.Copy+" "+b.Path, req)
	status := http.StatusOK
	if err != nil {
		b.Why, status = err.Error(), http.StatusBadGateway
	}
	if b.Left = len(list.Items) > maxFiles; b.Left {
		list.Items = list.Items[:maxFiles]
	}
	b.Files = filesOf(&b, list.Items)
	p := w.page(r, s, "backups", "Copy "+visible(b.Name)+" of "+visible(job.Name))
	p.Body = b
	w.render(rw, status, "files", p)
	return nil
}

// filesOf are the rows: folders first, then by name.
func filesOf(b *filesBody, all []wire.BackupFile) []fileRow {
	var rows []fileRow
	for _, f := range all {
		if f.Path == b.Path {
			continue // the folder itself
		}
		row := fileRow{BackupFile: f, Base: path.Base(f.Path), Shown: path.Base(f.Path)}
		if b.Match != "" {
			row.Shown = f.Path
		}
		switch f.Type {
		case "dir":
			row.Open, row.Restore = b.Link+"?"+url.Values{"path": {f.Path}}.Encode(), restoreLink(b.Link, f.Path)
		case "file":
			row.Restore = restoreLink(b.Link, f.Path)
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(x, y fileRow) int {
		return cmp.Or(-cmp.Compare(bit(x.Type == "dir"), bit(y.Type == "dir")), cmp.Compare(x.Shown, y.Shown))
	})
	return rows
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func restoreLink(copy, path string) string {
	return copy + "/restore?" + url.Values{"path": {path}}.Encode()
}

// folderOf is the folder that a link or the search names.
func folderOf(q url.Values) string {
	if below, err := url.QueryUnescape(q.Get("below")); err == nil && below != "" {
		return cleanPath(below)
	}
	return cleanPath(q.Get("path"))
}

// cleanPath is an absolute path in plain steps.
func cleanPath(p string) string { return path.Clean("/" + p) }

// pattern makes a pattern of a word: what somebody types may stand anywhere in
// a name.
func pattern(s string) string {
	if s == "" || strings.ContainsAny(s, "*?[") {
		return s
	}
	return "*" + s + "*"
}

// crumbs lead from the root of a copy to a folder.
func crumbs(link, folder string) []crumb {
	var all []crumb
	at := ""
	for name := range strings.SplitSeq(strings.Trim(folder, "/"), "/") {
		if name != "" {
			at += "/" + name
			all = append(all, crumb{name, link + "?" + url.Values{"path": {at}}.Encode()})
		}
	}
	return all
}

// restoreWait is how long a browser may take for one piece: it may wait for a
// person who chooses where to put the file.
const restoreWait = 5 * time.Minute

// restore sends one file of a copy, or a folder as a tar archive. Nothing of it
// is shown by the browser: it is stored. When the rest cannot be had, the
// connection is broken off, so that the browser says that it has failed.
func (w *Web) restore(rw http.ResponseWriter, r *http.Request, s *session) error {
	if site := r.Header.Get("Sec-Fetch-Site"); r.Method != http.MethodGet || site != "" && site != "same-origin" && site != "none" {
		return &refusal{http.StatusForbidden, wire.Error{Code: "cross-site", Message: "Only this page restores files."}}
	}
	what := Restore{Job: r.PathValue("job"), Snapshot: r.PathValue("copy"), Path: cleanPath(r.URL.Query().Get("path"))}
	if w.o.Works == nil {
		return noWork
	}
	if len(what.Path) > maxPath {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: "A path has at most " + strconv.Itoa(maxPath) + " bytes."}}
	}
	select {
	case s.restore <- struct{}{}:
		defer func() { <-s.restore }()
	default:
		return &refusal{http.StatusTooManyRequests, wire.Error{Code: "restoring", Message: "Two downloads of yours are under way. Wait until one has ended."}}
	}
	begun := false
	err := w.o.Works.Restore(r.Context(), s.Role, what, func(f Restored) (io.Writer, error) {
		if begun {
			return nil, errors.New("one answer holds one thing")
		}
		begun = true
		return begin(rw, f, what.Job), nil
	})
	err = worked(err)
	w.note(r, s, backupName+"/restore", what.Job+" "+what.Snapshot+" "+what.Path, "", result(err))
	if err != nil && begun {
		w.o.Log.LogAttrs(r.Context(), slog.LevelWarn, "restore broken off", slog.String("job", what.Job), slog.String("path", what.Path), slog.Any("error", err))
		panic(http.ErrAbortHandler) // the one way to break an answer off
	}
	return err
}

// begin writes the headers of a file: bytes to store, whatever their name says.
func begin(rw http.ResponseWriter, f Restored, job string) io.Writer {
	name, kind := fileName(f.Name), "application/octet-stream"
	if name == "" {
		name = fileName(job)
	}
	if f.Folder {
		name, kind = name+".tar", "application/x-tar"
	}
	h := rw.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", cmp.Or(mime.FormatMediaType("attachment", map[string]string{"filename": name}), "attachment"))
	if !f.Folder && f.Size >= 0 {
		h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	}
	rw.WriteHeader(http.StatusOK)
	return &patient{rw, http.NewResponseController(rw)}
}

// fileName is a name that is safe to suggest: one element, no control
// characters, nothing that turns the direction of text, not hidden.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < 0x20 || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r):
			return '_'
		case r >= 0x80 && r < 0xa0, r >= 0x200e && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff, r == 0xfffd:
			return '_'
		}
		return r
	}, s)
	if strings.HasPrefix(s, ".") {
		s = "_" + s
	}
	return s
}

// patient writes to a reader that may be slow, but not without end.
type patient struct {
	w io.Writer
	c *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.c.SetWriteDeadline(time.Now().Add(restoreWait)) // only recorders of tests refuse it
	return p.w.Write(b)
}
