package web_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"golang.org/x/crypto/ssh"

	"allclear/internal/api/client"
	"allclear/internal/app"
	"allclear/internal/lab"
	"allclear/internal/wire"
)

// browser returns a tab of a real Chromium, or skips.
func browser(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("ALLCLEAR_NO_BROWSER") == "1" {
		t.Skip("needs: chromium (ALLCLEAR_NO_BROWSER=1 says not to use it)")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs: chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(time.Minute))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() }) // waits for the browser to be gone
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// world is the whole agent with real servers around it.
type world struct {
	t      *testing.T
	lab    *lab.Lab
	client *client.Client
	base   string // of the page
	nas    *lab.SSHServer
	feeds  *lab.TLSServer
	byID   map[string]uint64 // CODE@RESOURCE
	source string            // what is backed up
}

// newWorld starts an agent that watches good and bad servers, and waits until
// every check has looked.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.lab, err = lab.New(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.lab.Close() })
	w.nas = must(w.lab.SSH(lab.SSHOptions{Version: "SSH-2.0-OpenSSH_6.6.1", KEX: []string{"diffie-hellman-group14-sha1"}, MACs: []string{"hmac-sha1"}}))(t)
	east := must(w.lab.SSH(lab.SSHOptions{}))(t)
	w.feeds = must(w.lab.TLS(lab.TLSOptions{}))(t)
	old := must(w.lab.Issue(lab.CertOptions{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}))(t)
	expired := must(w.lab.TLS(lab.TLSOptions{Pair: old}))(t)
	silent := must(w.lab.TLS(lab.TLSOptions{Manner: lab.CloseAfterHello}))(t)
	refused := must(w.lab.RefusedAddr())(t)
	ca := must(w.lab.WriteFile("ca.pem", w.lab.CA().PEM))(t)
	soon := must(w.lab.Issue(lab.CertOptions{NotAfter: time.Now().Add(5 * 24 * time.Hour)}))(t)
	cert := must(w.lab.WriteFile("server.pem", soon.CertPEM))(t)
	key := must(w.lab.WriteFile("server.key", soon.KeyPEM))(t)

	dir := t.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, "node: db-01\nwatch:\n  ssh:\n")
	fmt.Fprintf(&b, "    - {name: vault-nas, address: %q, policy: openssh-9, host_keys: [%q]}\n", w.nas.Addr(), pin(w.nas))
	fmt.Fprintf(&b, "    - {name: store-east, address: %q, policy: openssh-9, host_keys: [%q]}\n", east.Addr(), pin(east))
	fmt.Fprintf(&b, "  tls:\n")
	for name, addr := range map[string]string{"feeds": w.feeds.Addr(), "portal": expired.Addr(), "archive": silent.Addr(), "ticket-api": refused} {
		fmt.Fprintf(&b, "    - {name: %s, address: %q, server_name: lab.test, ca: %q}\n", name, addr, "file:"+ca)
	}
	fmt.Fprintf(&b, "  certificates:\n    - {name: postgres, path: %q, key: %q, ca: %q, names: [lab.test]}\n", cert, key, ca)
	file := filepath.Join(dir, "allclear.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(app.Options{ConfigFile: file, StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "s.sock"), Listen: "127.0.0.1:0"})
	return w
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func pin(s *lab.SSHServer) string {
	for _, k := range s.HostKeys() {
		if k.Type() == ssh.KeyAlgoED25519 {
			return k.Type() + " " + ssh.FingerprintSHA256(k)
		}
	}
	return ""
}

// run starts the agent and waits for its first round of looks.
func (w *world) run(o app.Options) {
	w.t.Helper()
	w.begin(o)
	if _, err := w.client.Verify(w.t.Context(), nil); err != nil {
		w.t.Fatal(err)
	}
	w.know()
}

// begin starts the agent.
func (w *world) begin(o app.Options) {
	w.t.Helper()
	ready := make(chan string, 1)
	o.Ready = func(link string) { ready <- link }
	ctx, stop := context.WithCancel(w.t.Context())
	var agent sync.WaitGroup
	agent.Go(func() {
		if err := app.Run(ctx, o); err != nil {
			w.t.Errorf("run the agent: %v", err)
			close(ready)
		}
	})
	w.t.Cleanup(func() { stop(); agent.Wait() })
	link := <-ready
	w.base, _, _ = strings.Cut(link, "/login")
	w.client = client.New(o.Socket)
	w.t.Cleanup(w.client.Close)
}

// know learns the ids of all faults.
func (w *world) know() {
	w.t.Helper()
	w.byID = map[string]uint64{}
	for f, err := range w.client.AllFaults(w.t.Context(), client.Filter{State: "all"}) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.byID[string(f.Code)+"@"+f.Resource] = f.ID
	}
}

// find returns the id of the fault whose key begins so.
func (w *world) find(prefix string) uint64 {
	w.t.Helper()
	for k, id := range w.byID {
		if strings.HasPrefix(k, prefix) {
			return id
		}
	}
	w.t.Fatalf("no fault %s among %v", prefix, w.byID)
	return 0
}

// login opens the page with a link.
func (w *world) login(tab context.Context, role string) {
	w.t.Helper()
	link := must(w.client.PageLogin(w.t.Context(), role))(w.t)
	if err := chromedp.Do(tab, chromedp.Navigate(link.URL), chromedp.Click(chromedp.CSS("form.form button")), chromedp.WaitVisible(chromedp.CSS("#pr"))); err != nil {
		w.t.Fatalf("log in: %v", err)
	}
}

// problems collects what the browser complains about: violations of the
// policy, exceptions, failed loads.
func problems(tab context.Context) func() []string {
	var mu sync.Mutex // guards all
	var all []string
	go func() {
		for m, err := range chromedp.Console(tab) {
			if err != nil {
				return
			}
			mu.Lock()
			if m.IsException() || m.Type == "error" || m.Type == "warning" {
				all = append(all, m.Source+": "+m.Text+" "+m.URL)
			}
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

// look sets the size and the colours of the tab.
func look(t *testing.T, tab context.Context, width, height int64, theme string) {
	t.Helper()
	if err := chromedp.Do(tab, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatal(err)
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}
	if _, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		t.Fatal(err)
	}
}

// open goes to a path of the page.
func (w *world) open(t *testing.T, tab context.Context, path string) {
	t.Helper()
	if err := chromedp.Do(tab, chromedp.Navigate(w.base+path), chromedp.WaitVisible(chromedp.CSS("#main"))); err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
}

// ask evaluates an expression in the page.
func ask[T any](t *testing.T, tab context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("evaluate %.60s: %v", expression, err)
	}
	return v
}

// axe runs axe-core with the rules of WCAG 2.2 A and AA; the tests' own script
// comes in through the debugger, which no policy stops.
const axeRun = `axe.run(document, {runOnly: {type: "tag", values: ["wcag2a","wcag2aa","wcag21a","wcag21aa","wcag22aa","best-practice"]}})
  .then(r => r.violations.map(v => v.id + ": " + v.help + " at " + v.nodes.slice(0, 4).map(n => n.target.join(" ") + " {" + (n.any.concat(n.all)[0] || {}).message + "}").join("; ")))`

// sideways is how far the page can be scrolled sideways, in px.
const sideways = `document.documentElement.scrollWidth - document.documentElement.clientWidth`

// view is a page, and what to type into its form before it is looked at.
type view struct{ name, path, target string }

func (w *world) views() []view {
	return []view{
		{"overview", "/", ""},
		{"faults", "/faults", ""},
		{"faults-none", "/faults?q=nothing-like-it", ""},
		{"fault", fmt.Sprintf("/faults/%d", w.find("ssh/no-common-algorithm@vault-nas")), ""},
		{"fault-cert", fmt.Sprintf("/faults/%d", w.find("certificate/")), ""},
		{"timeline", "/timeline?range=1h", ""},
		{"checks", "/checks", ""},
		{"probe", "/probe", ""},
		{"probe-ssh", "/probe?kind=ssh", w.nas.Addr()},
		{"probe-tls", "/probe?kind=tls", w.feeds.Addr()},
		{"audit", "/audit", ""},
		{"login", "/login", ""},
		{"error", "/faults/99999", ""},
	}
}

// TestEveryPageIsAccessible looks at every page, light and dark, narrow and
// wide: no violation of WCAG 2.2 AA, nothing to scroll sideways, no word from
// the browser's console. With UPDATE_IMG=1 it also takes the pictures.
func TestEveryPageIsAccessible(t *testing.T) {
	tab := browser(t)
	w := newWorld(t)
	complaints := problems(tab)
	w.login(tab, "")
	w.mend(t)
	w.everyLook(t, tab, w.views())
	for _, c := range complaints() {
		if !strings.Contains(c, "99999") {
			t.Errorf("the browser complains: %s", c)
		}
	}
}

// everyLook looks at pages in both colours and both widths. With UPDATE_IMG=1 it
// takes pictures of those that are named, of all but fault-cert (whose path is
// that of a test) when none is.
func (w *world) everyLook(t *testing.T, tab context.Context, views []view, pictures ...string) {
	t.Helper()
	for _, v := range views {
		wanted := len(pictures) == 0 && v.name != "fault-cert" || slices.Contains(pictures, v.name)
		for _, theme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1440} {
				t.Run(fmt.Sprintf("%s/%s/%d", v.name, theme, width), func(t *testing.T) {
					look(t, tab, width, 900, theme)
					w.open(t, tab, v.path)
					if v.target != "" {
						err := chromedp.Do(tab, chromedp.SetValue(chromedp.CSS("[name=target]"), v.target), chromedp.Click(chromedp.CSS("form.sheet button")), chromedp.WaitVisible(chromedp.CSS("main .lead")))
						if err != nil {
							t.Fatal(err)
						}
					}
					accessible(t, tab)
					if os.Getenv("UPDATE_IMG") == "1" && (theme == "light") == (width == 1440) && wanted {
						shoot(t, tab, fmt.Sprintf("%s-%s-%d.png", v.name, theme, width))
					}
				})
			}
		}
	}
}

// mend lets one fault be raised and cleared, one acknowledged and one shelved,
// so that every page has something to show.
func (w *world) mend(t *testing.T) {
	t.Helper()
	w.feeds.Set(func(o *lab.TLSOptions) { o.Manner = lab.ResetAtOnce })
	must(w.client.Verify(t.Context(), []string{"feeds"}))(t)
	w.know()
	w.feeds.Set(func(o *lab.TLSOptions) { o.Manner = lab.Serve })
	must(w.client.Verify(t.Context(), []string{"feeds"}))(t)
	ref := fmt.Sprint(w.find("ssh/no-common-algorithm@vault-nas"))
	must(w.client.Operate(t.Context(), ref, wire.OperatorRequest{Op: "ack", Reason: "storage team is on it, OPS-1184"}))(t)
	must(w.client.Operate(t.Context(), fmt.Sprint(w.find("certificate/")), wire.OperatorRequest{Op: "shelve", Reason: "renewed with the next release", For: "72h"}))(t)
}

// accessible runs axe-core on the page as it stands.
func accessible(t *testing.T, tab context.Context) {
	t.Helper()
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(tab, chromedp.Evaluate[chromedp.Void](string(axe))); err != nil {
		t.Fatal(err)
	}
	for _, f := range ask[[]string](t, tab, axeRun) {
		t.Error(f)
	}
	if over := ask[int](t, tab, sideways); over > 0 {
		t.Errorf("the page can be scrolled sideways by %d px", over)
	}
}

// maxPicture is the size of a picture in docs/img, in bytes.
const maxPicture = 200 << 10

func shoot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	b, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > maxPicture {
		t.Errorf("picture %s has %d bytes", name, len(b))
	}
	if err := os.WriteFile(filepath.Join("..", "..", "docs", "img", name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
