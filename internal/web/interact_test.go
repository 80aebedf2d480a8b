package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"allclear/internal/lab"
	"allclear/internal/web"
	"allclear/internal/wire"
)

// eventually asks the page until it says yes.
func eventually(t *testing.T, tab context.Context, what, expression string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for poll := time.NewTicker(50 * time.Millisecond); ; <-poll.C {
		if ask[bool](t, tab, expression) {
			poll.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s (%s); the page says %.600s", what, expression, ask[string](t, tab, `document.querySelector("main").innerText`))
		}
	}
}

// TestAFaultIsMendedUnderTheEyesOfAnOperator follows one fault in a browser:
// verified in place, mended, proved, and everything without a reload.
func TestAFaultIsMendedUnderTheEyesOfAnOperator(t *testing.T) {
	tab := browser(t)
	w := newWorld(t)
	complaints := problems(tab)
	w.login(tab, "operator")
	look(t, tab, 1440, 900, "light")
	id := w.find("connectivity/tcp-failed@ticket-api")
	w.open(t, tab, fmt.Sprintf("/faults/%d", id))
	eventually(t, tab, "the stream lives", `document.getElementById("live-w").textContent === "Live"`)
	if err := chromedp.Do(tab, chromedp.Click(chromedp.CSS(`.steps form button`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, tab, "the result stands at its step", `document.getElementById("result-1").innerText.includes("Still present.")`)
	if !ask[bool](t, tab, `document.activeElement.closest("form")?.dataset.live === "result-1"`) {
		t.Error("the button lost the focus")
	}
	// Acknowledge from the item: the popover opens by keyboard, and Escape gives the focus back.
	if err := chromedp.Do(tab, chromedp.Focus(chromedp.CSS(`[popovertarget=p-ack]`)), chromedp.KeyEvent("\r")); err != nil {
		t.Fatal(err)
	}
	eventually(t, tab, "the popover is open", `document.getElementById("p-ack").matches(":popover-open")`)
	if err := chromedp.Do(tab, chromedp.KeyEvent("\u001b")); err != nil {
		t.Fatal(err)
	}
	eventually(t, tab, "the focus is back", `document.activeElement.getAttribute("popovertarget") === "p-ack"`)

	w.open(t, tab, "/faults")
	eventually(t, tab, "the stream lives", `document.getElementById("live-w").textContent === "Live"`)
	height := ask[float64](t, tab, `document.querySelector(".rows li:last-child").getBoundingClientRect().top`)
	w.feeds.Set(func(o *lab.TLSOptions) { o.Manner = lab.ResetAtOnce })
	must(w.client.Verify(t.Context(), []string{"feeds"}))(t)
	eventually(t, tab, "what is new is said", `document.getElementById("news").innerText.includes("1 new fault since")`)
	eventually(t, tab, "the tab says so", `document.title.startsWith("7 faults - Faults")`)
	if got := ask[float64](t, tab, `document.querySelector(".rows li:last-child").getBoundingClientRect().top`); got != height {
		t.Errorf("the rows moved from %v to %v while somebody read", height, got)
	}
	w.know()
	w.open(t, tab, "/faults")
	eventually(t, tab, "the stream lives", `document.getElementById("live-w").textContent === "Live"`)
	w.feeds.Set(func(o *lab.TLSOptions) { o.Manner = lab.Serve })
	must(w.client.Verify(t.Context(), []string{"feeds"}))(t)
	eventually(t, tab, "the clear is said", `document.getElementById("news").innerText.includes("1 clear since")`)
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

// TestAPageWhoseStreamIsCutSaysSo stops the agent's answers and reads the page.
func TestAPageWhoseStreamIsCutSaysSo(t *testing.T) {
	f := start(t, &demo{things: 1, text: hostile})
	id := f.raise(t).ID
	tab := browser(t)
	link, err := f.page.Login("anna", "operator")
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(tab, chromedp.Navigate(link.URL), chromedp.Click(chromedp.CSS("form.form button")), chromedp.WaitVisible(chromedp.CSS("#pr")),
		chromedp.Navigate(f.server.URL+fmt.Sprintf("/faults/%d", id)), chromedp.WaitVisible(chromedp.CSS("#re"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, tab, "the stream lives", `document.getElementById("live-w").textContent === "Live"`)
	if got := ask[string](t, tab, `document.querySelector("#v").textContent + document.querySelectorAll("main script, main img, [onerror]").length`); got != "The thing is broken0" {
		t.Errorf("hostile evidence became something: %q", got)
	}
	f.server.Listener.Close()
	f.server.CloseClientConnections()
	eventually(t, tab, "the cut is said", `!document.getElementById("cutoff").hidden && document.getElementById("live-w").textContent === "Reconnecting"`)
	if !ask[bool](t, tab, `[...document.querySelectorAll("main form[method=post] button")].every(b => b.getAttribute("aria-disabled") === "true")`) {
		t.Error("buttons still offer themselves")
	}
	if !strings.Contains(ask[string](t, tab, `document.querySelector("#v").textContent`), "broken") {
		t.Error("what was known is gone")
	}
}

// TestNotificationsSayWhoIsTold shows receivers that deliver, fail and rest.
func TestNotificationsSayWhoIsTold(t *testing.T) {
	f := start(t, &demo{things: 1})
	now := time.Now()
	f.opts.Sinks = func(context.Context) ([]wire.NotifySink, error) {
		return []wire.NotifySink{
			{Name: "ops", Kind: "webhook", Destination: "https://hooks.example", State: "ok", ToldSeq: 48231, LastDelivered: &now, LastAnswer: "204 No Content"},
			{Name: "mail", Kind: "email", Destination: "b@example", State: "failing", Lag: 12, Pending: 2, Failures: 3, LastError: hostile, LastErrorAt: &now, NextTry: &now},
			{Name: "log", Kind: "syslog", Destination: "udp://127.0.0.1:514", State: "idle"},
		}, nil
	}
	page, err := web.New(f.opts)
	if err != nil {
		t.Fatal(err)
	}
	link, err := page.Login("anna", "viewer")
	if err != nil {
		t.Fatal(err)
	}
	f.server.Config.Handler = page
	tab := browser(t)
	if err := chromedp.Do(tab, chromedp.Navigate(link.URL), chromedp.Click(chromedp.CSS("form.form button")), chromedp.WaitVisible(chromedp.CSS("#pr"))); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int64{360, 1440} {
		for _, theme := range []string{"light", "dark"} {
			look(t, tab, width, 900, theme)
			if err := chromedp.Do(tab, chromedp.Navigate(f.server.URL+"/notifications"), chromedp.WaitVisible(chromedp.CSS("table"))); err != nil {
				t.Fatal(err)
			}
			accessible(t, tab)
		}
	}
	text := ask[string](t, tab, `document.querySelector("main").innerText`)
	has(t, "notifications", text, "Delivers", "48\u00a0231", "Cannot deliver", "3 failures in a row", "Nothing sent yet", "<script>alert(1)</script>")
}
