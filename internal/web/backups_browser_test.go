package web_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/crypto/ssh"

	"allclear/internal/app"
	"allclear/internal/lab"
	"allclear/internal/wire"
	"allclear/kmip/kmiptest"
)

// newBackupWorld starts an agent with a good and an old target, and with two key
// servers; three of its jobs have run, one of them in vain, one never.
func newBackupWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.lab = must(lab.New(t.Context(), t.TempDir()))(t)
	t.Cleanup(func() { _ = w.lab.Close() })
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := must(ssh.NewSignerFromKey(key))(t)
	block := must(ssh.MarshalPrivateKey(key, ""))(t)
	identity := must(w.lab.WriteFile("id", pem.EncodeToMemory(block)))(t)
	login := []ssh.PublicKey{signer.PublicKey()}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "copies"), 0o700); err != nil {
		t.Fatal(err)
	}
	east := must(w.lab.SSH(lab.SSHOptions{AuthorizedKeys: login, SFTP: &lab.SFTPOptions{Root: root}}))(t)
	w.nas = must(w.lab.SSH(lab.SSHOptions{
		Version: "SSH-2.0-OpenSSH_6.6.1", KEX: []string{"diffie-hellman-group14-sha1"}, MACs: []string{"hmac-sha1"},
		AuthorizedKeys: login, SFTP: &lab.SFTPOptions{Root: t.TempDir()},
	}))(t)

	dir := must(os.MkdirTemp("", "db-"))(t) // a short name, for the pictures
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pki := must(kmiptest.NewPKI("the authority of key servers"))(t)
	ours := must(pki.Issue(kmiptest.CertRequest{CommonName: "db-01", NotAfter: time.Now().AddDate(1, 0, 0)}))(t)
	ca, cert, own := must(w.lab.WriteFile("ca.pem", pki.RootPEM))(t), must(w.lab.WriteFile("c.pem", ours.CertPEM))(t), must(w.lab.WriteFile("c.key", ours.KeyPEM))(t)
	ks1, ks2 := w.keyServer(pki, kmiptest.Master), w.keyServer(pki, kmiptest.Clone)
	must(ks2.Follow(ks1, 0))(t)
	source := filepath.Join(dir, "etc")
	for name, content := range map[string]string{
		"hosts": "127.0.0.1 localhost\n", "ssh/sshd_config": "Port 22\n", "nginx/sites/portal.conf": strings.Repeat("server {}\n", 4000), hostileName: "odd",
	} {
		file := filepath.Join(source, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`node: db-01
backup:
  targets:
    - {name: store-east, address: %q, user: backup, key: "file:%s", host_keys: [%q], policy: openssh-9, path: /copies}
    - {name: vault-nas, address: %q, user: backup, key: "file:%s", host_keys: [%q], policy: openssh-9, path: /copies}
  jobs:
    - {name: etc, kind: repository, sources: [%q], target: store-east, schedule: "0 2 * * *"}
    - {name: conf, kind: archive, sources: [%q], target: store-east, schedule: "5 * * * *"}
    - {name: vault, kind: archive, sources: [%q], target: vault-nas, schedule: "@daily", tries: 1}
    - {name: spare, kind: repository, sources: [%q], target: store-east}
keyservers:
  - {name: ks1, address: %q, group: main, primary: true, profile: isklm, ca: "file:%s", client_cert: "file:%s", client_key: "file:%s"}
  - {name: ks2, address: %q, group: main, profile: isklm, ca: "file:%s", client_cert: "file:%s", client_key: "file:%s"}
`, east.Addr(), identity, pin(east), w.nas.Addr(), identity, pin(w.nas), source, source, source, source,
		ks1.Address(), ca, cert, own, ks2.Address(), ca, cert, own)
	file := filepath.Join(dir, "allclear.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w.begin(app.Options{ConfigFile: file, StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "s.sock"), Listen: "127.0.0.1:0"})
	must(w.client.Do(t.Context(), "keyserver", "key-create", wire.KeyRequest{}, nil))(t)
	for _, job := range []string{"etc", "conf", "etc", "vault"} {
		must(w.client.Do(t.Context(), "backup", "run", wire.BackupRunRequest{Job: job, Wait: true}, nil))(t)
	}
	must(w.client.Do(t.Context(), "backup", "drill", wire.BackupJobRequest{Job: "etc"}, nil))(t)
	must(w.client.Do(t.Context(), "keyserver", "test", wire.KeyServerRequest{}, nil))(t)
	w.source = source
	return w
}

// keyServer starts a key server.
func (w *world) keyServer(pki *kmiptest.PKI, role kmiptest.Role) *kmiptest.Server {
	w.t.Helper()
	id := must(pki.Issue(kmiptest.CertRequest{CommonName: string(role), NotAfter: time.Now().AddDate(1, 0, 0)}))(w.t)
	s := must(kmiptest.Start(w.t.Context(), kmiptest.Options{Certificate: id.TLS, ClientCAs: pki.Pool(), Role: role, Vendor: "IBM SKLM 4.1.1.0"}))(w.t)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// hostileName is a name that a file may have.
const hostileName = "<img src=x onerror=alert(3)>\x1b[1m\u202egpj"

// copy is the id of a job's newest copy.
func (w *world) copy(job string) string {
	w.t.Helper()
	var jobs wire.List[wire.BackupJob]
	if err := w.client.View(w.t.Context(), "backup", "jobs", url.Values{"job": {job}}, &jobs); err != nil || len(jobs.Items) != 1 {
		w.t.Fatalf("job %s: %v, %v", job, jobs.Items, err)
	}
	return jobs.Items[0].Last.Copy
}

// TestProtectionByARealAgent does what people do, on one agent with real targets.
func TestProtectionByARealAgent(t *testing.T) {
	w := newBackupWorld(t)
	t.Run("FilesComeBack", w.filesComeBack)
	t.Run("StageByStage", w.stageByStage)
	t.Run("Accessible", w.backupPages)
	t.Run("Rekey", w.rekey)
}

// backupPages looks at the pages of backups as the other test does at the
// others.
func (w *world) backupPages(t *testing.T) {
	tab := browser(t)
	complaints := problems(tab)
	w.login(tab, "")
	folder := url.Values{"path": {w.source}}.Encode()
	w.everyLook(t, tab, []view{
		{"backups", "/backups", ""},
		{"backup-job", "/backups/etc", ""},
		{"backup-failed", "/backups/vault", ""},
		{"backup-copies", "/backups/etc/copies", ""},
		{"backup-files", "/backups/etc/copies/" + w.copy("etc") + "?" + folder, ""},
		{"keyservers", "/keyservers", ""},
		{"keyserver", "/keyservers/ks1", ""},
	}, "backups", "backup-job", "backup-files", "keyservers", "keyserver")
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

// stageByStage presses buttons and watches the page change in place.
func (w *world) stageByStage(t *testing.T) {
	tab := browser(t)
	w.login(tab, "operator")
	w.open(t, tab, "/backups/spare")
	eventually(t, tab, "the stream lives", `document.getElementById("live-w").textContent === "Live"`)
	if got := ask[string](t, tab, `document.querySelector(".head .state").innerText`); got != "Never ran" {
		t.Errorf("before the first run the job is %q", got)
	}
	must(w.client.Do(t.Context(), "backup", "run", wire.BackupRunRequest{Job: "spare", Wait: true}, nil))(t)
	eventually(t, tab, "the state changed in place", `document.querySelector(".head .state").innerText.startsWith("Verified ")`)
	eventually(t, tab, "every stage is done", `[...document.querySelectorAll(".stages li")].every(li => li.dataset.s === "ok" && li.querySelector("use").getAttribute("href") === "#i-ok" && li.innerText.includes(":"))`)
	if err := chromedp.Do(tab, chromedp.Click(chromedp.CSS(`form[action="/backups/spare/verify"] button`)), chromedp.WaitVisible(chromedp.CSS("p > .state[role=status]"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, tab, "the verification ended", `document.querySelector("p > .state[role=status]").innerText.includes("all agreed")`)
}

// filesComeBack restores a file and a folder as an admin's browser does, and
// compares.
func (w *world) filesComeBack(t *testing.T) {
	link := must(w.client.PageLogin(t.Context(), "admin"))(t)
	jar, _ := cookiejar.New(nil) // fails never without options
	admin := &http.Client{Jar: jar}
	_, token, _ := strings.Cut(link.URL, "token=")
	resp := must(admin.PostForm(w.base+"/login", url.Values{"token": {token}}))(t)
	_ = resp.Body.Close()
	get := func(job, path string) (*http.Response, []byte) {
		t.Helper()
		resp := must(admin.Get(w.base + "/backups/" + job + "/copies/" + w.copy(job) + "/restore?" + url.Values{"path": {path}}.Encode()))(t)
		defer resp.Body.Close()
		return resp, must(io.ReadAll(resp.Body))(t)
	}
	for _, job := range []string{"etc", "conf"} {
		for _, name := range []string{"nginx/sites/portal.conf", hostileName} {
			resp, got := get(job, filepath.Join(w.source, name))
			if want := must(os.ReadFile(filepath.Join(w.source, name)))(t); resp.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
				t.Errorf("%s: %q came back as %.100q, %s", job, name, got, resp.Status)
			}
			if d := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment; filename") || strings.ContainsAny(d, "<>\x1b\u202e") {
				t.Errorf("%s: %q is to be stored as %q", job, name, d)
			}
		}
		resp, got := get(job, w.source)
		if resp.Header.Get("Content-Type") != "application/x-tar" || resp.Header.Get("Content-Disposition") != "attachment; filename=etc.tar" {
			t.Errorf("%s: a folder comes as %v", job, resp.Header)
		}
		found := map[string]string{}
		for in := tar.NewReader(bytes.NewReader(got)); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				found[h.Name] = string(must(io.ReadAll(in))(t))
			}
		}
		if base := strings.TrimPrefix(w.source, "/"); len(found) != 4 || found[base+"/hosts"] != "127.0.0.1 localhost\n" {
			t.Errorf("%s: the archive holds %d files", job, len(found))
		}
		if resp, text := get(job, w.source+"/gone"); resp.StatusCode/100 == 2 {
			t.Errorf("%s: what the copy does not have: %s %.200s", job, resp.Status, text)
		}
	}
	log := must(os.ReadFile(filepath.Join(filepath.Dir(w.source), "state", "audit.jsonl")))(t)
	if !bytes.Contains(log, []byte(`"what":"backup/restore","target":"etc `)) {
		t.Errorf("the audit log says nothing of it: %s", log)
	}
}

// arrived waits for the page after the one that has set window.before.
func arrived(t *testing.T, tab context.Context) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for poll := time.NewTicker(20 * time.Millisecond); ; <-poll.C {
		// An error says that one page is gone and the next is not there yet.
		if there, err := chromedp.Run(tab, chromedp.Evaluate[bool](`!window.before && document.readyState === "complete"`)); err == nil && there {
			poll.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer came in 30 s")
		}
	}
}

// rekey renews the key by the buttons of an admin, to the step that must wait.
func (w *world) rekey(t *testing.T) {
	tab := browser(t)
	w.login(tab, "admin")
	press := func(step string) {
		t.Helper()
		w.open(t, tab, "/keyservers")
		eventually(t, tab, "the stream lives", `document.getElementById("live-w").textContent === "Live"`)
		form := `form[action="/keys/repo/` + step + `"] button`
		if err := chromedp.Do(tab, chromedp.Evaluate[chromedp.Void](`window.before = true`), chromedp.Click(chromedp.CSS(form))); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		arrived(t, tab)
	}
	says := func(step, words string) {
		t.Helper()
		eventually(t, tab, step, `document.querySelector("main").innerText.includes(`+fmt.Sprintf("%q", words)+`)`)
	}
	press("prepare")
	says("a new key that is proved", "and proved.")
	if got := ask[string](t, tab, `document.querySelector("[aria-current=step] h3").innerText`); !strings.HasPrefix(got, "Commit") {
		t.Errorf("the step under way is %q", got)
	}
	accessible(t, tab)
	press("cancel")
	says("a renewal that was cancelled", "Renew key repo")
	press("prepare")
	press("verify")
	says("a second look", "and proved.")
	press("commit")
	says("a new key in use", "Not before")
	press("retire")
	says("a step that comes too early", "Not done")
	eventually(t, tab, "the stream lives on that page too", `document.getElementById("live-w").textContent === "Live"`)
}
