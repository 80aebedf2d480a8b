package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"allclear/internal/api"
	"allclear/internal/web"
	"allclear/internal/wire"
)

// workshop is what subsystems show and do, made up. It asks for roles as the
// real one does.
type workshop struct {
	mu      sync.Mutex // guards the fields below
	views   map[string]any
	actions map[string]func(in any, tell func(wire.Progress)) (any, error)
	did     []string
	file    func(web.Restore, func(web.Restored) (io.Writer, error)) error
}

// roles are those of the real actions.
func actionRole(name string) api.Role {
	switch name {
	case "backup/run", "backup/verify", "backup/snapshots", "backup/list", "keyserver/test":
		return api.Operator
	}
	return api.Admin
}

func (s *workshop) View(_ context.Context, _ api.Role, sub, path string, q url.Values) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.views[sub+"/"+path]
	if !ok {
		return nil, fmt.Errorf("%w: %s/%s", web.ErrNoWork, sub, path)
	}
	if f, ok := v.(func(url.Values) any); ok {
		return f(q), nil
	}
	return v, nil
}

func (s *workshop) Do(_ context.Context, role api.Role, sub, action string, in any, tell func(wire.Progress)) (any, error) {
	name := sub + "/" + action
	if need := actionRole(name); !need.Allows(role) {
		return nil, fmt.Errorf("%w: it needs %s", web.ErrRole, need)
	}
	s.mu.Lock()
	act := s.actions[name]
	s.did = append(s.did, fmt.Sprintf("%s %+v", name, in))
	s.mu.Unlock()
	if act == nil {
		return nil, web.ErrNoWork
	}
	return act(in, tell)
}

func (s *workshop) Restore(_ context.Context, role api.Role, what web.Restore, open func(web.Restored) (io.Writer, error)) error {
	if !api.Admin.Allows(role) {
		return web.ErrRole
	}
	return s.file(what, open)
}

func (s *workshop) set(name string, v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views[name] = v
}

func (s *workshop) done() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.did...)
}

// newWorkshop has one job that ran well, with hostile words in everything that
// comes from elsewhere.
func newWorkshop(text string) *workshop {
	now := time.Now().UTC().Add(-time.Minute)
	run := wire.BackupRun{
		ID: "r1", Job: "etc", Kind: "repository", Target: "nas", Trigger: "schedule", State: "success", Started: now, Ended: &now, Try: 1, Tries: 3, Percent: 100,
		Stages: []wire.BackupStage{
			{Name: "begin", Order: 1, State: "success", Ended: &now},
			{Name: "source", Order: 2, State: "success", Ended: &now},
			{Name: "transfer", Order: 3, State: "success", Ended: &now},
			{Name: "verify", Order: 4, State: "success", Ended: &now, Text: text},
			{Name: "done", Order: 5, State: "success", Ended: &now},
		},
		Files: 1204, Bytes: 41 << 20, BytesSent: 3 << 20, BytesRead: 2 << 20, Rate: 63 << 20, DurationMS: 5200, Copy: strings.Repeat("ab", 32), Server: text,
		Result: wire.BackupResult{Class: "ok"}, Notes: []string{text}, UCS: "F999723 " + text,
	}
	job := wire.BackupJob{
		Name: "etc", Kind: "repository", Target: "nas", Location: "/copies/etc", Sources: []string{"/etc", "/srv/" + text}, Schedule: "0 2 * * *", State: "success", OverdueAfter: "48h0m0s",
		Last: &run, Proof: wire.BackupProof{Verified: &now, Copy: run.Copy, Structure: &now, ReadPercent: 31.4, ReadWithin: "720h0m0s"},
		Key: wire.BackupKey{State: "readable", Local: true, Recovery: true, Why: text},
	}
	lists := map[string][]string{"kex": {"curve25519-sha256", text}, "host_key": {"ssh-ed25519"}, "cipher_c2s": {"aes256-gcm@openssh.com"}, "cipher_s2c": {"aes256-gcm@openssh.com"}, "mac_c2s": {}, "mac_s2c": {}}
	free, total := uint64(410<<30), uint64(1800<<30)
	target := wire.BackupTarget{
		Name: "nas", Address: "nas:22", User: "backup", Path: "/copies", Protocol: "sftp", Policy: "modern", Jobs: []string{"etc"}, Ours: lists, Theirs: lists, Common: lists,
		Server: "SSH-2.0-" + text, Looked: &now, Free: &free, Total: &total, State: "reached", Why: text,
		Chosen: &wire.BackupAlgorithms{Policy: "modern", KEX: "curve25519-sha256", HostKey: "ssh-ed25519", CipherC2S: "aes256-gcm@openssh.com", CipherS2C: "aes256-gcm@openssh.com"},
	}
	s := &workshop{views: map[string]any{
		"backup/jobs":    wire.List[wire.BackupJob]{Items: []wire.BackupJob{job}},
		"backup/runs":    wire.List[wire.BackupRun]{Items: []wire.BackupRun{run}},
		"backup/targets": wire.List[wire.BackupTarget]{Items: []wire.BackupTarget{target}},
	}}
	s.actions = map[string]func(any, func(wire.Progress)) (any, error){
		"backup/run": func(any, func(wire.Progress)) (any, error) { return run, nil },
		"backup/snapshots": func(any, func(wire.Progress)) (any, error) {
			return wire.List[wire.BackupSnapshot]{Items: []wire.BackupSnapshot{{ID: run.Copy, Time: now, Host: text, Paths: []string{"/etc", text}, Size: 9 << 20, Files: 1204, Program: text}}}, nil
		},
		"backup/list": func(any, func(wire.Progress)) (any, error) {
			return wire.List[wire.BackupFile]{Items: []wire.BackupFile{
				{Path: "/etc", Type: "dir", Mode: "drwxr-xr-x", Owner: text, Modified: now},
				{Path: "/" + text, Type: "file", Mode: "-rw-r--r--", Size: 12, Modified: now},
				{Path: "/link", Type: "symlink", Mode: "Lrwxrwxrwx", Link: text, Modified: now},
			}}, nil
		},
	}
	s.file = func(what web.Restore, open func(web.Restored) (io.Writer, error)) error {
		w, err := open(web.Restored{Name: what.Path[strings.LastIndexByte(what.Path, '/')+1:], Size: 7})
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, "content")
		return err
	}
	return s
}

// withWorks is a fixture whose page shows the workshop.
func withWorks(t testing.TB, d *demo, s *workshop) *fixture {
	t.Helper()
	return start(t, d, func(o *web.Options) { o.Works = s })
}

func TestBackupsSayWhatWasProvedAndWhen(t *testing.T) {
	f := withWorks(t, &demo{}, newWorkshop(""))
	p := f.someone(api.Viewer)
	_, text := p.get("/backups")
	has(t, "backups", text, "1 of 1", "31 %", "Verified", "One run: verified", "63 MiB/s", "2.0 MiB read back", "curve25519-sha256", "aes256-gcm@openssh.com", "not needed",
		"410 GiB free of 1.8 TiB", "77 % used", "Only a file on this machine opens it", "The recovery key opens it too", `aria-current="page">Backups`)
	_, text = p.get("/backups/etc")
	has(t, "the job", text, "Copy abababab was read back and agreed", "No restore drill", "The rest was never read.", "Nothing is planned", "5200 ms", "To look into the copies takes an operator", "F999723")
	if resp, _ := p.get("/backups/nothing"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a job that is not there: %s", resp.Status)
	}
}

// TestTheKindsOfNoBackup reads what the pages of backups say when there is
// nothing to show: each time something else.
func TestTheKindsOfNoBackup(t *testing.T) {
	s := newWorkshop("")
	f := withWorks(t, &demo{}, s)
	p := f.someone(api.Operator)
	s.actions["backup/list"] = func(any, func(wire.Progress)) (any, error) { return wire.List[wire.BackupFile]{}, nil }
	s.actions["backup/snapshots"] = func(any, func(wire.Progress)) (any, error) { return wire.List[wire.BackupSnapshot]{}, nil }
	for path, want := range map[string]string{
		"/backups/etc/copies":                 "There is no copy",
		"/backups/etc/copies/latest":          "This folder of the copy is empty",
		"/backups/etc/copies/latest?match=xy": "of this copy matches <code>xy</code>",
	} {
		_, text := p.get(path)
		has(t, path, text, want)
	}
	s.actions["backup/snapshots"] = func(any, func(wire.Progress)) (any, error) { return nil, errors.New("dial nas: no route") }
	resp, text := p.get("/backups/etc/copies")
	has(t, "no answer", text, "The copies cannot be listed.", "Dial nas: no route.")
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("no answer: %s", resp.Status)
	}
	s.set("backup/runs", wire.List[wire.BackupRun]{})
	s.set("backup/jobs", wire.List[wire.BackupJob]{Items: []wire.BackupJob{{Name: "etc", OverdueAfter: "1h0m0s", State: "never"}}})
	s.set("backup/targets", wire.List[wire.BackupTarget]{Items: []wire.BackupTarget{{Name: "nas", State: "not-yet"}}})
	_, text = p.get("/backups/etc")
	has(t, "never ran", text, "It never ran", "No verified copy", "Structure never looked at")
	_, text = p.get("/backups")
	has(t, "never looked at", text, "Never ran", "Not looked at yet", "none passed")
	s.set("backup/jobs", wire.List[wire.BackupJob]{})
	_, text = p.get("/backups")
	has(t, "nothing configured", text, "No backup job is configured")
	f2 := withWorks(t, &demo{}, &workshop{})
	_, text = f2.someone(api.Viewer).get("/backups")
	has(t, "no subsystem", text, "This agent makes no backups")
}

func TestButtonsOfBackupsFollowTheRole(t *testing.T) {
	s := newWorkshop("")
	f := withWorks(t, &demo{}, s)
	viewer, operator, admin := f.someone(api.Viewer), f.someone(api.Operator), f.someone(api.Admin)
	for _, c := range []struct {
		p                 *person
		run, drill, fetch bool
	}{{viewer, false, false, false}, {operator, true, false, false}, {admin, true, true, true}} {
		_, text := c.p.get("/backups/etc")
		if got := strings.Contains(text, "/backups/etc/run"); got != c.run {
			t.Errorf("a button to run: %v", got)
		}
		if got := strings.Contains(text, "/backups/etc/drill"); got != c.drill {
			t.Errorf("a button for a drill: %v", got)
		}
		if _, text = c.p.get("/backups/etc/copies/x"); strings.Contains(text, "/restore?") != c.fetch {
			t.Errorf("a link to restore: want %v", c.fetch)
		}
	}
	if resp, _ := operator.post("/backups/etc/run", url.Values{"back": {"/backups"}}); resp.Header.Get("Location") != "/backups" {
		t.Errorf("run: %s, %s", resp.Status, resp.Header.Get("Location"))
	}
	if e := f.memory.last(); e.What != "backup/run" || e.Target != "etc" || e.Who != "anna" || e.Result != "done" {
		t.Errorf("the run is audited as %+v", e)
	}
	if resp, _ := operator.post("/backups/etc/drill", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a drill by an operator: %s", resp.Status)
	}
	if e := f.memory.last(); e.What != "backup/drill" || e.Result != "not-allowed" {
		t.Errorf("the refused drill is audited as %+v", e)
	}
	if resp, _ := operator.post("/backups/etc/password", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an action that has no button: %s", resp.Status)
	}
	if got := s.done(); len(got) != 3 || got[2] != "backup/run {Job:etc Wait:false}" {
		t.Errorf("done was %q", got)
	}
}

// TestLongWorkOutlivesTheBrowserThatAskedForIt follows a verification.
func TestLongWorkOutlivesTheBrowserThatAskedForIt(t *testing.T) {
	s := newWorkshop("")
	told, finish := make(chan struct{}), make(chan error)
	s.actions["backup/verify"] = func(_ any, tell func(wire.Progress)) (any, error) {
		tell(wire.Progress{Percent: 42, Text: "reads packs"})
		close(told)
		err := <-finish
		return wire.BackupVerify{OK: true, Copies: 3, BytesRead: 5 << 20}, err
	}
	f := withWorks(t, &demo{}, s)
	p := f.someone(api.Operator)
	if resp, text := p.post("/backups/etc/verify", nil); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("verify: %s %s", resp.Status, text)
	}
	<-told
	_, text := p.get("/backups/etc")
	has(t, "under way", text, "Verification asked for by anna", "42 % reads packs")
	resp, text := p.post("/backups/etc/verify", nil)
	has(t, "twice", text, "it is under way")
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("twice: %s", resp.Status)
	}
	finish <- nil
	for { // the end is another goroutine's
		if _, text = p.get("/backups/etc"); strings.Contains(text, "Verification ended") {
			break
		}
	}
	has(t, "its end", text, "3 copies, 5.0 MiB read back, all agreed")
	var results []string
	entries, _, _ := f.memory.Recent(50)
	for _, e := range entries {
		if e.What == "backup/verify" {
			results = append(results, e.Result)
		}
	}
	if got := strings.Join(results, " "); got != "done under-way begun" {
		t.Errorf("the verification is audited as %q", got)
	}
}

func TestARestoredFileIsStoredAndNeverShown(t *testing.T) {
	s := newWorkshop("")
	f := withWorks(t, &demo{}, s)
	admin := f.someone(api.Admin)
	for name, want := range map[string]string{
		"index.html":       `attachment; filename=index.html`,
		"a b\"\r\nX: y":    `attachment; filename="a b___X_ y"`,
		"\u202egpj.exe":    `attachment; filename=_gpj.exe`,
		"grün":             `attachment; filename*=utf-8''gr%C3%BCn`,
		".profile":         `attachment; filename=_.profile`,
		"<script>\x1b[1m":  `attachment; filename="_script__[1m"`,
		"broken\xffutf8":   `attachment; filename=broken_utf8`,
		"..":               `attachment; filename="etc"`,
		"back\\slash:file": `attachment; filename=back_slash_file`,
	} {
		resp, text := admin.get("/backups/etc/copies/x/restore?" + url.Values{"path": {"/etc/" + name}}.Encode())
		got := resp.Header
		if name == ".." {
			if e := f.memory.last(); e.Target != "etc x /" {
				t.Errorf("a path with .. is %q", e.Target)
			}
			continue
		}
		if resp.StatusCode != http.StatusOK || text != "content" || got.Get("Content-Disposition") != want || got.Get("Content-Type") != "application/octet-stream" ||
			got.Get("X-Content-Type-Options") != "nosniff" || got.Get("Content-Security-Policy") != strictPolicy || got.Get("Content-Length") != "7" || got.Get("Cache-Control") != "no-store" {
			t.Errorf("%q: %s %q %v, want %s", name, resp.Status, text, got, want)
		}
	}
	if e := f.memory.last(); e.What != "backup/restore" || !strings.HasPrefix(e.Target, "etc x /") || e.Result != "done" {
		t.Errorf("the restore is audited as %+v", e)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		if resp, _ := admin.do("GET", "/backups/etc/copies/x/restore?path=/etc/a", nil, "Sec-Fetch-Site", site); resp.StatusCode != http.StatusForbidden {
			t.Errorf("from a %s page: %s", site, resp.Status)
		}
	}
	if resp, _ := admin.do("HEAD", "/backups/etc/copies/x/restore?path=/etc/a", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("without a body: %s", resp.Status)
	}
	if resp, _ := admin.get("/backups/etc/copies/x/restore?path=/" + strings.Repeat("a", 5000)); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a path of 5000 bytes: %s", resp.Status)
	}
	if resp, _ := f.someone(api.Operator).get("/backups/etc/copies/x/restore?path=/etc/a"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("an operator: %s", resp.Status)
	}
}

// TestARestoreThatBreaksOffIsSeenToFail: half a file must not look like one.
func TestARestoreThatBreaksOffIsSeenToFail(t *testing.T) {
	s := newWorkshop("")
	f := withWorks(t, &demo{}, s)
	f.server.Config.ErrorLog = nil
	admin := f.someone(api.Admin)
	for _, folder := range []bool{false, true} {
		s.file = func(_ web.Restore, open func(web.Restored) (io.Writer, error)) error {
			w, err := open(web.Restored{Name: "x", Folder: folder, Size: 1 << 20})
			if err == nil {
				_, err = io.WriteString(w, "half")
			}
			return errors.Join(err, errors.New("pack 12 is damaged"))
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.server.URL+"/backups/etc/copies/x/restore?path=/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := admin.client.Do(req)
		if err != nil {
			continue // broken off before the first byte left: that is seen too
		}
		if _, err = io.ReadAll(resp.Body); err == nil {
			t.Errorf("folder %v: half of it looked like all of it", folder)
		}
		_ = resp.Body.Close()
		if e := f.memory.last(); e.What != "backup/restore" || e.Result != "not-done" {
			t.Errorf("the broken restore is audited as %+v", e)
		}
	}
	s.file = func(web.Restore, func(web.Restored) (io.Writer, error)) error { return errors.New("no such copy") }
	resp, text := admin.get("/backups/etc/copies/x/restore?path=/x")
	has(t, "before the first byte", text, "No such copy.")
	if resp.StatusCode != http.StatusConflict || resp.Header.Get("Content-Disposition") != "" {
		t.Errorf("before the first byte: %s %v", resp.Status, resp.Header)
	}
}

func TestHostileNamesInCopiesStayText(t *testing.T) {
	f := withWorks(t, &demo{}, newWorkshop(hostile))
	p := f.someone(api.Admin)
	for _, path := range []string{
		"/backups", "/backups/etc", "/backups/etc/copies", "/backups/etc/copies/x", "/backups/etc/copies/" + url.PathEscape(hostile),
		"/backups/etc/copies/x?" + url.Values{"path": {"/" + hostile}, "match": {hostile}}.Encode(), "/backups/" + url.PathEscape(hostile),
	} {
		_, text := p.get(path)
		harmless(t, path, text)
	}
	for event, data := range p.stream(t, "0") {
		if strings.ContainsAny(data, "<\x1b") {
			t.Errorf("the stream says %s", data)
		}
		if event == "state" {
			break
		}
	}
}
