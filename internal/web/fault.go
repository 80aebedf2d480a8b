package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// faultBody is everything about one fault.
type faultBody struct {
	Fault    wire.Fault
	Entry    *fault.Entry // nil when the code left the catalogue
	Shape    string
	Word     string
	Reasons  []string
	Check    *wire.Check
	Events   []fault.Event
	Facts    []pair
	Readings []pair
	Matrix   []category
	Masks    []wire.FaultRow // what this one causes
	Causes   []cause
	Step     int // of the remedy at which somebody looked, 0 for none
	Looked   *lookResult
	Said     string // what an operator just did
}

type pair struct{ Key, Value string }

// category is one row of a comparison: what each side brought.
type category struct {
	Name, Way        string
	Allowed, Offered []algorithm
	Smallest         string
}

type algorithm struct {
	Name   string
	Common bool
}

type cause struct {
	Key string
	ID  uint64
}

// lookResult is what a look said of the fault.
type lookResult struct{ Icon, Head, Words, More string }

func (w *Web) fault(rw http.ResponseWriter, r *http.Request, s *session) error {
	why, err := w.o.Agent.Why(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	f := why.Fault
	p := w.page(r, s, "faults", f.Title)
	b := faultBody{
		Fault: f, Shape: f.Severity.String(), Word: capital(f.Severity.String()), Reasons: why.Reasons,
		Check: why.Check, Events: why.Events, Said: r.URL.Query().Get("did"),
	}
	if f.State == fault.Clear {
		b.Shape, b.Word = "ok", "Clear"
		if f.ClearReason != fault.Verified {
			b.Shape = "na"
		}
	}
	b.Entry, _ = w.o.Agent.Catalogue().Get(f.Code)
	b.Matrix, b.Facts, b.Readings = decode(f.Sense, b.Entry)
	w.relate(&b)
	if b.Step, _ = strconv.Atoi(r.URL.Query().Get("step")); b.Step > 0 || b.Said == "verify" {
		b.Looked = lookOf(f, why.Check, p.Now)
	}
	p.Body = b
	w.render(rw, http.StatusOK, "fault", p)
	return nil
}

// relate finds the causes of the fault and what it causes.
func (w *Web) relate(b *faultBody) {
	me := fault.Key{Code: b.Fault.Code, Resource: b.Fault.Resource}
	ids := map[string]uint64{}
	for _, row := range w.o.Agent.Rows(api.Query{}) {
		ids[row.Key.String()] = row.ID
		if slices.Contains(row.MaskedBy, me) && len(b.Masks) < maxMembers {
			b.Masks = append(b.Masks, row)
		}
	}
	for _, k := range b.Fault.MaskedBy {
		b.Causes = append(b.Causes, cause{k, ids[k]})
	}
}

// comparisons are the pairs of evidence that belong together: NAME_offered,
// NAME_allowed and NAME_smallest.
const (
	offeredSuffix  = "_offered"
	allowedSuffix  = "_allowed"
	smallestSuffix = "_smallest"
)

// decode takes the evidence apart: comparisons of two lists, facts, readings.
func decode(sense map[string]string, e *fault.Entry) (matrix []category, facts, readings []pair) {
	used := map[string]bool{}
	for key, offered := range sense {
		base, ok := strings.CutSuffix(key, offeredSuffix)
		allowed, both := sense[base+allowedSuffix]
		if !ok || !both {
			continue
		}
		used[key], used[base+allowedSuffix], used[base+smallestSuffix] = true, true, true
		matrix = append(matrix, compare(base, words(allowed), words(offered), sense[base+smallestSuffix]))
	}
	slices.SortFunc(matrix, func(a, b category) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Way, b.Way)) })
	for key, value := range sense {
		switch {
		case used[key]:
		case e != nil && e.IsFact(key):
			facts = append(facts, pair{key, value})
		default:
			readings = append(readings, pair{key, value})
		}
	}
	order := func(a, b pair) int { return cmp.Compare(a.Key, b.Key) }
	slices.SortFunc(facts, order)
	slices.SortFunc(readings, order)
	return matrix, facts, readings
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func compare(base string, allowed, offered []string, smallest string) category {
	c := category{Name: base, Way: "one for both ways", Smallest: smallest}
	for suffix, way := range map[string]string{"_c2s": "client to server", "_s2c": "server to client"} {
		if name, ok := strings.CutSuffix(base, suffix); ok {
			c.Name, c.Way = name, way
		}
	}
	c.Name = map[string]string{"kex": "Key exchange", "host_key": "Host key", "cipher": "Cipher", "mac": "MAC"}[c.Name]
	if c.Name == "" {
		c.Name = capital(strings.ReplaceAll(base, "_", " "))
	}
	c.Allowed, c.Offered = marked(allowed, offered), marked(offered, allowed)
	return c
}

func marked(list, other []string) []algorithm {
	all := make([]algorithm, len(list))
	for i, name := range list {
		all[i] = algorithm{name, slices.Contains(other, name)}
	}
	return all
}

// Common are the names that both sides have.
func (c category) Common() []string {
	var names []string
	for _, a := range c.Allowed {
		if a.Common {
			names = append(names, a.Name)
		}
	}
	return names
}

// lookOf says what the newest look of the owner said of the fault.
func lookOf(f wire.Fault, c *wire.Check, now time.Time) *lookResult {
	if c == nil || c.Last == nil {
		return &lookResult{"stale", "Nobody looked.", "No check owns this fault at the moment.", ""}
	}
	l := c.Last
	words := fmt.Sprintf("Looked %s, took %s, %s.", clock(now, l.At), span2(l.DurationMS), trigger(l.Trigger))
	verdict, why := fault.Unknown, l.Failure
	for _, j := range l.Verdicts {
		if j.Code == f.Code && j.Resource == f.Resource {
			verdict, why = j.Verdict, j.Why
		}
	}
	switch {
	case f.State == fault.Clear && f.ClearReason == fault.Verified:
		return &lookResult{"ok", "Cleared.", words, "The look proved the repair."}
	case f.State == fault.Clear:
		return &lookResult{"na", "Clear.", words, f.ClearReason}
	case verdict == fault.Present:
		return &lookResult{f.Severity.String(), "Still present.", words, f.Text}
	case verdict == fault.Absent:
		return &lookResult{"ok", "No longer found.", words, "It clears when its hold time is met by further looks."}
	}
	return &lookResult{"stale", "The look could not tell.", words, cmp.Or(why, "Nothing was proved, so nothing changed.")}
}

func span2(ms int64) string {
	if ms < 10_000 {
		return fmt.Sprintf("%d ms", ms)
	}
	return span(time.Duration(ms) * time.Millisecond)
}

func trigger(t fault.Trigger) string {
	switch t {
	case fault.TriggerOperator:
		return "asked for by a person"
	case fault.TriggerTimer:
		return "by the timer"
	case fault.TriggerStartup:
		return "at the start of the agent"
	case fault.TriggerCause:
		return "because another fault asked for its cause"
	}
	return "because something was " + string(t)
}

// operate carries out an operator's word on one fault.
func (w *Web) operate(rw http.ResponseWriter, r *http.Request, s *session) error {
	ref, op := r.PathValue("id"), r.PathValue("op")
	if op == "verify" {
		return w.verifyFault(rw, r, s, ref)
	}
	ctx, cancel := asked(r)
	defer cancel()
	req, err := operatorRequest(op, r.PostFormValue("reason"), r.PostFormValue("for"))
	if err == nil {
		_, err = w.o.Agent.Operate(ctx, ref, s.Who, req)
	}
	w.note(r, s, op, ref, req.Reason, result(err))
	if err != nil {
		return err
	}
	http.Redirect(rw, r, "/faults/"+ref+"?did="+op, http.StatusSeeOther)
	return nil
}

func operatorRequest(op, reason, how string) (wire.OperatorRequest, error) {
	req := wire.OperatorRequest{Op: fault.Op(op), Reason: strings.TrimSpace(reason)}
	if !slices.Contains([]fault.Op{fault.OpAck, fault.OpUnack, fault.OpShelve, fault.OpUnshelve, fault.OpFix}, req.Op) {
		return req, &refusal{http.StatusNotFound, wire.Error{Code: "no-such-page", Message: "Nothing of this name can be done to a fault."}}
	}
	if len(req.Reason) > maxReason {
		return req, &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: fmt.Sprintf("The reason is longer than %d bytes.", maxReason)}}
	}
	if req.Op == fault.OpShelve {
		req.For = how
	}
	return req, nil
}

// verifyFault looks now. The script gets only what the look said; without it
// the page comes back with that at the step that asked.
func (w *Web) verifyFault(rw http.ResponseWriter, r *http.Request, s *session, ref string) error {
	ctx, cancel := asked(r)
	defer cancel()
	_, err := w.o.Agent.Verify(ctx, []string{ref})
	w.note(r, s, "verify", ref, "", result(err))
	if err != nil {
		return err
	}
	step, _ := strconv.Atoi(r.PostFormValue("step")) // anything else is the page as a whole
	if !fragment(r) {
		back := fmt.Sprintf("/faults/%s?step=%d#result-%d", ref, step, step)
		if step < 1 {
			back = "/faults/" + ref + "?did=verify"
		}
		http.Redirect(rw, r, back, http.StatusSeeOther)
		return nil
	}
	why, err := w.o.Agent.Why(ctx, ref)
	if err != nil {
		return err
	}
	p := page{Body: lookOf(why.Fault, why.Check, w.o.Now())}
	w.render(rw, http.StatusOK, "result", p)
	return nil
}

// maxActs is how many faults one press may concern.
const maxActs = 200

// act carries out one thing on all faults of a row.
func (w *Web) act(rw http.ResponseWriter, r *http.Request, s *session) error {
	ids, do := r.PostForm["id"], r.PostFormValue("do")
	if len(ids) == 0 || len(ids) > maxActs {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: fmt.Sprintf("One to %d faults can be named.", maxActs)}}
	}
	ctx, cancel := asked(r)
	defer cancel()
	var err error
	if do == "verify" {
		_, err = w.o.Agent.Verify(ctx, ids)
	} else {
		err = w.actEach(ctx, s, ids, do, r)
	}
	w.note(r, s, do, strings.Join(ids, " "), r.PostFormValue("reason"), result(err))
	if err != nil {
		return err
	}
	http.Redirect(rw, r, local(r.PostFormValue("back")), http.StatusSeeOther)
	return nil
}

func (w *Web) actEach(ctx context.Context, s *session, ids []string, do string, r *http.Request) error {
	req, err := operatorRequest(do, r.PostFormValue("reason"), r.PostFormValue("for"))
	if err != nil {
		return err
	}
	for i, id := range ids {
		if _, err := w.o.Agent.Operate(ctx, id, s.Who, req); err != nil {
			if i > 0 {
				return fmt.Errorf("%s of %d done, then fault %s: %w", count(i, "fault"), len(ids), id, err)
			}
			return err
		}
	}
	return nil
}
