package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"allclear/internal/api"
	"allclear/internal/web"
)

const strictPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// everyPath is each thing that can be asked for, with the role it needs.
var everyPath = []struct {
	method, path string
	role         api.Role
}{
	{"GET", "/", api.Viewer},
	{"GET", "/faults", api.Viewer},
	{"GET", "/faults/1", api.Viewer},
	{"GET", "/timeline", api.Viewer},
	{"GET", "/checks", api.Viewer},
	{"GET", "/events?after=0", api.Viewer},
	{"GET", "/probe", api.Operator},
	{"GET", "/audit", api.Operator},
	{"POST", "/probe", api.Operator},
	{"POST", "/faults/1/ack", api.Operator},
	{"POST", "/faults/1/verify", api.Operator},
	{"GET", "/restconf/data/ietf-alarms:alarms", api.Viewer},
	{"POST", "/faults/act", api.Operator},
	{"POST", "/checks/verify", api.Operator},
	{"GET", "/keyservers", api.Viewer},
	{"GET", "/keyservers/ks1", api.Viewer},
	{"POST", "/keyservers/test", api.Operator},
	{"POST", "/keys/repo/retire", api.Admin},
	{"GET", "/backups", api.Viewer},
	{"GET", "/backups/etc", api.Viewer},
	{"POST", "/backups/etc/run", api.Operator},
	{"GET", "/backups/etc/copies", api.Operator},
	{"GET", "/backups/etc/copies/latest", api.Operator},
	{"GET", "/backups/etc/copies/latest/restore?path=/etc/shadow", api.Admin},
}

func TestNothingIsShownOrDoneWithoutTheRightRole(t *testing.T) {
	f := start(t, &demo{things: 1})
	f.raise(t)
	nobody, viewer := f.stranger(), f.someone(api.Viewer)
	for _, c := range everyPath {
		resp, text := nobody.do(c.method, c.path, nil)
		login := resp.StatusCode == http.StatusSeeOther && strings.HasPrefix(resp.Header.Get("Location"), "/login?next=")
		if !login && resp.StatusCode != http.StatusUnauthorized || strings.Contains(text, "db-01") || strings.Contains(text, "thing") {
			t.Errorf("a stranger: %s %s: %s %.200s", c.method, c.path, resp.Status, text)
		}
		if c.role != api.Viewer {
			if resp, _ := viewer.do(c.method, c.path, nil); resp.StatusCode != http.StatusForbidden {
				t.Errorf("a viewer: %s %s: %s, want 403", c.method, c.path, resp.Status)
			}
			if e := f.memory.last(); e.Result != "not-allowed" || e.Who != "anna" {
				t.Errorf("%s %s: the refusal is audited as %+v", c.method, c.path, e)
			}
		}
	}
	if got, _ := f.agent.Fault("1"); got.Operator.Mark != "none" {
		t.Errorf("the fault was marked: %+v", got.Operator)
	}
}

func TestEveryAnswerCarriesTheStrictHeaders(t *testing.T) {
	f := start(t, &demo{things: 1})
	p := f.someone(api.Admin)
	for _, path := range []string{"/", "/login", "/nothing", "/faults?severity=bad", "/assets/allclear.js", "/assets/../web.go", "/checks"} {
		resp, _ := p.get(path)
		for name, want := range map[string]string{
			"Content-Security-Policy": strictPolicy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestALinkWorksOnceAndNotForLong(t *testing.T) {
	f := start(t, &demo{})
	token := f.link(api.Viewer)
	if resp, text := f.stranger().get("/login?token=" + token); resp.StatusCode != http.StatusOK || len(resp.Cookies()) != 0 || !strings.Contains(text, `value="`+token) {
		t.Fatalf("looking at the link: %s %v", resp.Status, resp.Cookies())
	}
	var wg sync.WaitGroup
	got := make(chan int, 20)
	for range cap(got) { // twenty at the same moment: one gets in
		wg.Go(func() {
			resp, _ := f.stranger().post("/login", url.Values{"token": {token}})
			got <- resp.StatusCode
		})
	}
	wg.Wait()
	close(got)
	in := 0
	for status := range got {
		if status == http.StatusSeeOther {
			in++
		} else if status != http.StatusForbidden {
			t.Errorf("a replayed link: %d", status)
		}
	}
	if in != 1 {
		t.Errorf("%d got in with one link", in)
	}
	late := f.link(api.Viewer)
	f.clock.add(10 * time.Minute)
	for _, token := range []string{late, "", "x", strings.Repeat("A", 43), late[:42], late + "="} {
		if resp, _ := f.stranger().post("/login", url.Values{"token": {token}}); resp.StatusCode != http.StatusForbidden {
			t.Errorf("the token %q: %s", token, resp.Status)
		}
	}
	if e := f.memory.last(); e.What != "login" || e.Result != "bad-link" {
		t.Errorf("the refusal is audited as %+v", e)
	}
}

func TestSessionsEndAndOutliveARestartAsHashesOnly(t *testing.T) {
	f := start(t, &demo{})
	p := f.stranger()
	resp, _ := p.post("/login", url.Values{"token": {f.link(api.Operator)}})
	cookie := resp.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" {
		t.Errorf("the cookie is %+v", cookie)
	}
	kept, _ := f.memory.Load()
	hash := sha256.Sum256([]byte(cookie.Value))
	if bytes.Contains(kept, []byte(cookie.Value)) || !bytes.Contains(kept, []byte(hex.EncodeToString(hash[:]))) {
		t.Errorf("what is kept: %s", kept)
	}
	again, err := web.New(f.opts)
	if err != nil {
		t.Fatal(err)
	}
	f.server.Config.Handler = again
	if resp, _ := p.get("/faults"); resp.StatusCode != http.StatusOK {
		t.Errorf("after a restart: %s", resp.Status)
	}
	forged := f.stranger()
	for _, value := range []string{"", "x", hex.EncodeToString(hash[:]), cookie.Value + "x"} {
		if resp, _ := forged.do("GET", "/", nil, "Cookie", cookie.Name+"="+value); resp.StatusCode != http.StatusSeeOther {
			t.Errorf("the cookie %q: %s", value, resp.Status)
		}
	}
	if resp, _ := p.post("/logout", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("log out: %s", resp.Status)
	}
	if resp, _ := forged.do("GET", "/", nil, "Cookie", cookie.Name+"="+cookie.Value); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the cookie after the logout: %s", resp.Status)
	}
	f.server.Config.Handler = f.page
	p = f.someone(api.Viewer)
	f.clock.add(12 * time.Hour)
	if resp, _ := p.get("/"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("after twelve hours: %s", resp.Status)
	}
}

func TestAnotherSiteCanChangeNothing(t *testing.T) {
	f := start(t, &demo{things: 1})
	id := f.raise(t).ID
	p := f.someone(api.Admin)
	form := url.Values{"reason": {"gotcha"}}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		for _, path := range []string{fmt.Sprintf("/faults/%d/ack", id), "/probe", "/logout", "/login", "/theme"} {
			if resp, _ := p.post(path, form, header...); resp.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s with %v: %s", path, header, resp.Status)
			}
		}
	}
	if got, _ := f.agent.Fault(fmt.Sprint(id)); got.Operator.Mark != "none" {
		t.Errorf("the fault was marked: %+v", got.Operator)
	}
	if resp, _ := p.post(fmt.Sprintf("/faults/%d/ack", id), form, "Sec-Fetch-Site", "same-origin"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("from our own page: %s", resp.Status)
	}
}

func TestALoginLeadsNowhereElse(t *testing.T) {
	f := start(t, &demo{})
	for _, next := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/x\r\nSet-Cookie: a=b", ""} {
		resp, _ := f.stranger().post("/login", url.Values{"token": {f.link(api.Viewer)}, "next": {next}})
		if got := resp.Header.Get("Location"); got != "/" {
			t.Errorf("next %q leads to %q", next, got)
		}
	}
	resp, _ := f.stranger().post("/login", url.Values{"token": {f.link(api.Viewer)}, "next": {"/faults?q=x"}})
	if got := resp.Header.Get("Location"); got != "/faults?q=x" {
		t.Errorf("a page of ours leads to %q", got)
	}
}

func TestHugeRequestsAreRefused(t *testing.T) {
	f := start(t, &demo{things: 1})
	id := f.raise(t).ID
	p := f.someone(api.Admin)
	if resp, _ := p.post(fmt.Sprintf("/faults/%d/ack", id), url.Values{"reason": {strings.Repeat("x", 1<<20)}}); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a megabyte of reason: %s", resp.Status)
	}
	if resp, _ := p.post(fmt.Sprintf("/faults/%d/ack", id), url.Values{"reason": {strings.Repeat("x", 1025)}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a reason of 1025 bytes: %s", resp.Status)
	}
	if resp, _ := p.post("/faults/act", url.Values{"do": {"ack"}, "reason": {"x"}, "id": make([]string, 201)}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("201 faults at once: %s", resp.Status)
	}
	if resp, _ := p.post("/probe", url.Values{"kind": {"ssh"}, "target": {strings.Repeat("a", 301)}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a target of 301 bytes: %s", resp.Status)
	}
}

// TestHostileEvidenceStaysText lets a foreign machine put markup, terminal
// sequences and line breaks into everything it can.
func TestHostileEvidenceStaysText(t *testing.T) {
	f := start(t, &demo{things: 2, text: hostile})
	close(f.prober.hold)
	id := f.raise(t).ID
	p := f.someone(api.Admin)
	p.post(fmt.Sprintf("/faults/%d/ack", id), url.Values{"reason": {hostile}})
	for _, path := range []string{"/", "/faults", "/faults?q=" + url.QueryEscape(hostile), fmt.Sprintf("/faults/%d", id), "/timeline", "/checks", "/audit", "/login?token=" + url.QueryEscape(hostile), "/probe?target=" + url.QueryEscape(hostile), "/checks?q=" + url.QueryEscape(hostile)} {
		_, text := p.get(path)
		harmless(t, path, text)
	}
	_, text := p.post("/probe", url.Values{"kind": {"ssh"}, "target": {hostile}})
	harmless(t, "POST /probe", text)
	_, text = p.post("/probe", url.Values{"kind": {"tls"}, "target": {hostile}})
	harmless(t, "POST /probe, refused", text)
	f.demo.broken.Store(false)
	for event, data := range p.stream(t, "0") {
		if strings.ContainsAny(data, "<\x1b") {
			t.Errorf("the stream says %s", data)
		}
		if event == "state" {
			break
		}
	}
}

func harmless(t *testing.T, where, text string) {
	t.Helper()
	for _, bad := range []string{"<script>alert", "<img src=x", "\x1b", "\x07", "\u202e"} {
		if strings.Contains(text, bad) {
			i := strings.Index(text, bad)
			t.Errorf("%s holds %q: ...%q", where, bad, text[max(0, i-80):min(len(text), i+40)])
		}
	}
	if !strings.Contains(text, "</html>") {
		t.Errorf("%s is not whole: %.200q", where, text)
	}
}

// TestTenThousandConnectionsDoNoHarm opens many connections that say nothing,
// others that send a header byte by byte, and asks for a page meanwhile.
func TestTenThousandConnectionsDoNoHarm(t *testing.T) {
	if testing.Short() {
		t.Skip("needs: some seconds")
	}
	f := start(t, &demo{things: 1})
	p := f.someone(api.Viewer)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	many := min(10_000, (int(limit.Cur)-500)/2) // both ends are in this process
	if many < 1000 {
		t.Skipf("needs: 2500 file descriptors, not %d", limit.Cur)
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for i := range many {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", f.server.Listener.Addr().String())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, c)
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHos")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", f.server.URL+"/faults", nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatalf("a page meanwhile: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a page meanwhile: %s", resp.Status)
	}
	t.Logf("a page beside %d connections took %s", many, time.Since(begun))
}

func TestTheAlarmsAreShownToThoseWhoMayLook(t *testing.T) {
	f := start(t, &demo{things: 1})
	f.raise(t)
	resp, text := f.someone(api.Viewer).get("/restconf/data/ietf-alarms:alarms")
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "application/yang-data+json" || !strings.Contains(text, "allclear-alarm-types:demo.broken") {
		t.Errorf("%s, %s: %.200s", resp.Status, got, text)
	}
}
