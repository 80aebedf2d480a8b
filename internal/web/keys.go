package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"allclear/internal/wire"
)

// keyRow is a key with its generations, what it opens, and the steps of its
// renewal.
type keyRow struct {
	wire.Key
	DOM      string
	Icon     string
	Word     string
	Title    string // of the steps
	Note     string
	Steps    []keyStepRow
	Cancel   bool
	Tasks    []taskRow
	CachedTo time.Time
}

// keyStepRow is a step of a renewal.
type keyStepRow struct {
	Step, Head, Text string
	Done, Current    bool
	Button           string // "" when it cannot be asked for now
}

func keyDOM(name string) string { return "y" + digestID(name) }

func keyTasks() []taskKind {
	return []taskKind{{keyServerName + "/key-create", "Making the key"}, {keyServerName + "/key-rekey", "The step"}}
}

// phases are how far a renewal is: the number of steps of the page that are
// done.
func phaseDone(phase string) int {
	switch phase {
	case "proved", "slotted", "verified":
		return 2
	case "committed", "retiring", "dropped":
		return 3
	}
	return 0
}

func keyRowOf(k wire.Key, now time.Time) keyRow {
	row := keyRow{Key: k, DOM: keyDOM(k.Name), Icon: "ok", Word: "Current"}
	switch {
	case k.State == "none":
		row.Icon, row.Word, row.Title = "na", "Not made yet", "Make key "+k.Name
		row.Note = "Until it is made, what is sealed here hangs on a key file of this host."
		row.Steps = []keyStepRow{{
			Step: "create", Head: "Make the key, and take it into use", Current: true, Button: "Make the key",
			Text: "The primary makes it, every server must return the same bytes, and whatever is sealed here gets a slot for it.",
		}}
		return row
	case k.Renewal == nil:
		row.Title = "Renew key " + k.Name
		row.Note = "Nothing is unprotected at any moment: the present generation opens everything until the last step, and to cancel is safe at every step before it."
		row.Steps = keySteps(&k, now)
		return row
	}
	n := k.Renewal
	row.Icon, row.Word = "run", "Being renewed, "+n.Phase
	row.Title = fmt.Sprintf("Renewal of key %s to generation %d", k.Name, n.New.Gen)
	row.Note = fmt.Sprintf("Begun %s, last step %s.", clock(now, n.Started), clock(now, n.Changed))
	if n.Failure != "" {
		row.Icon, row.Word = "major", "Renewal failed at "+n.Phase
	}
	row.Cancel = slices.Contains(n.Next, "cancel")
	if n.Phase == "cancelling" {
		row.Word, row.Note = "Renewal being cancelled", "The new generation is taken back. The present one opens everything."
		return row
	}
	row.Steps = keySteps(&k, now)
	return row
}

// keySteps are the four steps of a renewal.
func keySteps(k *wire.Key, now time.Time) []keyStepRow {
	done, next := 0, []string{"prepare"}
	steps := []keyStepRow{
		{Step: "prepare", Head: "Prepare: make the new key on the primary", Text: "Every server must return the same bytes before anything goes on.", Button: "Prepare"},
		{Step: "verify", Head: "Verify: look at it on every server once more", Text: "Proved when it was prepared; it may be looked at again at any time.", Button: "Verify again"},
		{Step: "commit", Head: "Commit: give everything a slot for it", Text: "Each new slot is opened with the key from the servers. New data uses the new generation; the old one still opens old data.", Button: "Commit"},
		{Step: "retire", Head: "Retire the old generation", Text: "After the time of grace, and only when every server gives the new key. The old slots go, then the old key: this cannot be taken back.", Button: "Retire"},
	}
	if n := k.Renewal; n != nil {
		done, next = phaseDone(n.Phase), n.Next
		if n.New.Name != "" && done > 0 {
			steps[0].Text = fmt.Sprintf("Made as %s, check value %s, and proved.", visible(n.New.Name), visible(n.New.Check))
		}
		if n.Phase == "named" || n.Phase == "sent" || n.Phase == "created" {
			steps[0].Button = "Go on with preparing"
		}
		if t := n.RetireAfter; t != nil {
			steps[3].Text += " Not before " + clock(now, *t) + "."
		}
	}
	for i := range steps {
		s := &steps[i]
		s.Done, s.Current = i < done, i == done
		if !slices.Contains(next, s.Step) {
			s.Button = ""
		}
	}
	return steps
}

// Slot says in words what a slot is.
func (keyRow) Slot(s wire.KeySlot) string {
	switch s.Kind {
	case "kmip":
		return fmt.Sprintf("generation %d of group %s", s.Gen, visible(s.Group))
	case "local":
		return "key file of this host"
	case "recovery":
		return "recovery key"
	}
	return visible(s.Kind)
}

// keyStep does one step of a renewal, or makes the key.
func (w *Web) keyStep(rw http.ResponseWriter, r *http.Request, s *session) error {
	key, step := r.PathValue("key"), r.PathValue("step")
	action, req := "key-rekey", wire.KeyRequest{Key: key, Step: step}
	switch {
	case step == "create":
		action, req.Step = "key-create", ""
	case !slices.Contains([]string{"prepare", "verify", "commit", "retire", "cancel"}, step):
		return noWork
	}
	t, err := w.start(r, s, keyServerName, action, key, req)
	if err == nil {
		err = w.tasks.await(r.Context(), t)
	}
	if err != nil {
		return err
	}
	http.Redirect(rw, r, local(cmp.Or(r.PostFormValue("back"), "/keyservers"))+"#"+strings.TrimPrefix(keyDOM(key), "#"), http.StatusSeeOther)
	return nil
}
