package watch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem/watch"
)

// files puts a good certificate with its key and authority in place.
func (w *world) files() watch.Certificate {
	w.t.Helper()
	pair := must(w.lab.Issue(lab.CertOptions{NotAfter: time.Now().Add(90 * 24 * time.Hour)}))(w.t)
	return watch.Certificate{
		Name: "web", Every: time.Hour, Names: []string{"lab.test", "127.0.0.1"},
		Warning: 30 * 24 * time.Hour, Major: 7 * 24 * time.Hour,
		Path: w.file("cert.pem", pair.CertPEM), KeyPath: w.file("key.pem", pair.KeyPEM), RootsPath: w.file("ca.pem", w.lab.CA().PEM),
	}
}

func (w *world) file(name string, data []byte) string {
	w.t.Helper()
	return must(w.lab.WriteFile(name, data))(w.t)
}

// put replaces the certificate, and the key with it.
func (w *world) put(o lab.CertOptions) {
	w.t.Helper()
	pair := must(w.lab.Issue(o))(w.t)
	w.file("cert.pem", pair.CertPEM)
	w.file("key.pem", pair.KeyPEM)
}

func TestEveryDefectOfACertificateIsNamed(t *testing.T) {
	const day = 24 * time.Hour
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for name, c := range map[string]struct {
		spoil     func(*world, *watch.Certificate)
		qualifier string // "": certificate/invalid is absent
		severity  fault.Severity
		other     fault.Code // the one of the two about its end that is present
	}{
		"good": {func(*world, *watch.Certificate) {}, "", 0, ""},
		"second name missing": {func(_ *world, item *watch.Certificate) {
			item.Names = []string{"lab.test", "other.test"}
		}, "san", fault.Critical, ""},
		"first name missing": {func(_ *world, item *watch.Certificate) {
			item.Names = []string{"other.test", "lab.test"}
		}, "san", fault.Critical, ""},
		"for clients": {func(w *world, _ *watch.Certificate) {
			w.put(lab.CertOptions{Client: true, DNSNames: []string{"lab.test"}})
		}, "eku", fault.Critical, watch.CodeCertExpiring},
		"another key": {func(w *world, _ *watch.Certificate) {
			w.file("key.pem", must(w.lab.Issue(lab.CertOptions{}))(w.t).KeyPEM)
		}, "key-mismatch", fault.Critical, ""},
		"no key":      {func(w *world, _ *watch.Certificate) { w.file("key.pem", []byte("nothing")) }, "key-unreadable", fault.Critical, ""},
		"key gone":    {func(_ *world, item *watch.Certificate) { item.KeyPath += ".gone" }, "key-unreadable", fault.Critical, ""},
		"roots gone":  {func(_ *world, item *watch.Certificate) { item.RootsPath += ".gone" }, "untrusted", fault.Critical, ""},
		"file gone":   {func(_ *world, item *watch.Certificate) { item.Path += ".gone" }, "unreadable", fault.Critical, ""},
		"empty":       {func(w *world, _ *watch.Certificate) { w.file("cert.pem", nil) }, "empty", fault.Critical, ""},
		"garbage":     {func(w *world, _ *watch.Certificate) { w.file("cert.pem", []byte("hello")) }, "unreadable", fault.Critical, ""},
		"a directory": {func(_ *world, item *watch.Certificate) { item.Path = filepath.Dir(item.Path) }, "unreadable", fault.Critical, ""},
		"too big":     {func(w *world, _ *watch.Certificate) { w.file("cert.pem", make([]byte, 1<<20+1)) }, "unreadable", fault.Critical, ""},
		"other roots": {func(w *world, _ *watch.Certificate) { w.file("ca.pem", must(w.lab.NewCA("other"))(w.t).PEM) }, "untrusted", fault.Critical, ""},
		"self-signed": {func(w *world, _ *watch.Certificate) { w.put(lab.CertOptions{SelfSigned: true, NotAfter: in(90 * day)}) }, "self-signed", fault.Critical, ""},
		"not yet": {func(w *world, _ *watch.Certificate) {
			w.put(lab.CertOptions{NotBefore: in(day), NotAfter: in(90 * day)})
		}, "not-yet-valid", fault.Critical, ""},
		"expiring": {func(w *world, _ *watch.Certificate) { w.put(lab.CertOptions{NotAfter: in(20 * day)}) }, "", 0, watch.CodeCertExpiring},
		"expired": {func(w *world, _ *watch.Certificate) {
			w.put(lab.CertOptions{NotBefore: in(-9 * day), NotAfter: in(-time.Minute)})
		}, "", 0, watch.CodeCertExpired},
		"wrong order": {func(w *world, item *watch.Certificate) { w.wrongOrder(item) }, "chain-order", fault.Warning, ""},
		"both at once": {func(w *world, _ *watch.Certificate) {
			w.put(lab.CertOptions{DNSNames: []string{"x.test"}, NotBefore: in(-9 * day), NotAfter: in(-time.Minute)})
		}, "san", fault.Critical, watch.CodeCertExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			item := w.files()
			c.spoil(w, &item)
			w.look(w.watching(watch.Options{Certificates: []watch.Certificate{item}}), fault.TriggerTimer)
			v, _ := w.view(watch.CodeCertInvalid, "web")
			if v.Active != (c.qualifier != "") || v.Sense.Get("qualifier") != c.qualifier || v.Active && v.Severity != c.severity {
				t.Errorf("invalid: active %v, qualifier %q, severity %v; want %q, %v; %s", v.Active, v.Sense.Get("qualifier"), v.Severity, c.qualifier, c.severity, v.Text)
			}
			for _, code := range []fault.Code{watch.CodeCertExpiring, watch.CodeCertExpired} {
				if v, _ := w.view(code, "web"); v.Active != (code == c.other) {
					t.Errorf("%s active %v, want %q", code, v.Active, c.other)
				}
			}
		})
	}
}

// wrongOrder puts a chain of three in place whose last two change places.
func (w *world) wrongOrder(item *watch.Certificate) {
	w.t.Helper()
	upper := must(w.lab.CA().Intermediate("upper"))(w.t)
	lower := must(upper.Intermediate("lower"))(w.t)
	pair := must(lower.Issue(lab.CertOptions{NotAfter: time.Now().Add(90 * 24 * time.Hour)}))(w.t)
	blocks := strings.SplitAfter(string(pair.CertPEM), "-----END CERTIFICATE-----\n")
	w.file("cert.pem", []byte(blocks[0]+blocks[2]+blocks[1]))
	w.file("key.pem", pair.KeyPEM)
}

// A pipe that nobody writes to must not hang the look.
func TestAPipeInPlaceOfACertificateIsRefused(t *testing.T) {
	w := newWorld(t)
	item := w.files()
	item.Path = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(item.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	w.look(w.watching(watch.Options{Certificates: []watch.Certificate{item}}), fault.TriggerTimer)
	if v, _ := w.view(watch.CodeCertInvalid, "web"); !v.Active || !strings.Contains(v.Text, "no regular file") {
		t.Errorf("active %v, %q", v.Active, v.Text)
	}
}

// The program whose key it is may read it: only we may not.
// asNobody runs the calling test again, as a child without rights.
func asNobody(t *testing.T) {
	t.Helper()
	const nobody = 65534
	// By this name the child needs no way to where the test binary lies.
	child := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	child.Dir = os.TempDir()
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as uid %d: %v\n%s", nobody, err, out)
	}
}

func TestAKeyThatOnlyWeMayNotReadIsAWarning(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t) // root may read everything
		return
	}
	w := newWorld(t)
	item := w.files()
	if err := os.Chmod(item.KeyPath, 0); err != nil {
		t.Fatal(err)
	}
	w.look(w.watching(watch.Options{Certificates: []watch.Certificate{item}}), fault.TriggerTimer)
	if v, _ := w.view(watch.CodeCertInvalid, "web"); v.Severity != fault.Warning || v.Sense.Get("qualifier") != "key-unreadable" {
		t.Errorf("severity %v, %q", v.Severity, v.Text)
	}
}
