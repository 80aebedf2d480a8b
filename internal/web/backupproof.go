package web

import (
	"fmt"
	"slices"
	"time"

	"allclear/internal/wire"
)

// proofsOf says what was proved of a job's copies, and when.
func proofsOf(j *wire.BackupJob, now time.Time) []proofRow {
	p := &j.Proof
	rows := []proofRow{proofVerified(j, now), proofRead(p, now), proofDrill(p, now), proofKey(&j.Key)}
	structure := proofRow{"stale", "Structure never looked at", "Whether all that the copies need is there is not known."}
	if p.Structure != nil {
		structure = proofRow{"ok", "Complete " + clock(now, *p.Structure), "All that the copies need was found at the target, " + ago(now, *p.Structure) + " ago."}
	}
	return slices.Insert(rows, 1, structure)
}

func proofVerified(j *wire.BackupJob, now time.Time) proofRow {
	v := j.Proof.Verified
	if v == nil {
		return proofRow{"stale", "No verified copy", "No run has read its copy back and found it to agree."}
	}
	row := proofRow{"ok", "Copy verified " + clock(now, *v), "Copy " + visible(brief(j.Proof.Copy)) + " was read back and agreed, " + ago(now, *v) + " ago."}
	if !current(j, now) {
		row.Icon, row.Text = "major", row.Text+" That is more than "+every(j.OverdueAfter)+"."
	}
	return row
}

func proofRead(p *wire.BackupProof, now time.Time) proofRow {
	row := proofRow{Icon: "stale", Head: fmt.Sprintf("%s %% read back", percent(p.ReadPercent)), Text: "Of all copies, read and compared within " + every(p.ReadWithin) + "."}
	if p.ReadPercent >= 99.95 {
		row.Icon = "ok"
	}
	if p.ReadOldest != nil {
		row.Text += " The oldest reading that counts is from " + clock(now, *p.ReadOldest) + "."
	} else if p.ReadPercent < 99.95 {
		row.Text += " The rest was never read."
	}
	return row
}

func proofDrill(p *wire.BackupProof, now time.Time) proofRow {
	d := p.Drill
	switch {
	case d == nil:
		return proofRow{"stale", "No restore drill", "Nobody has tried to restore from these copies."}
	case d.Passed:
		return proofRow{"ok", "Restore drill passed " + clock(now, d.At), fmt.Sprintf("%s of copy %s, %s, streamed as a restore does: equal to what was saved.", count(d.Files, "file"), visible(brief(d.Copy)), size(d.Bytes))}
	}
	row := proofRow{"critical", "Restore drill failed " + clock(now, d.At), visible(sentence(joined(": ", d.First, d.Why))) + "."}
	if p.DrillPassed != nil {
		row.Text += " The last one that passed was " + clock(now, *p.DrillPassed) + "."
	}
	return row
}

func proofKey(k *wire.BackupKey) proofRow {
	row := proofRow{"stale", "Key not looked at yet", "Whether the copies could be opened is not known."}
	switch k.State {
	case "none-yet":
		return proofRow{"na", "No key yet", "The first run makes it, and seals it before anything is encrypted with it."}
	case "unavailable":
		return proofRow{"critical", "The key cannot be had", visible(sentence(k.Why)) + "."}
	case "readable":
		row = proofRow{"ok", "The key opens", "It was unsealed."}
		switch {
		case k.Cached:
			row.Icon, row.Text = "warning", "It comes from memory: no key server answers."
		case k.From != "":
			row.Text = "It was unsealed with the key from " + visible(k.From) + "."
		}
		if k.Local {
			row.Icon, row.Text = "warning", "Only a file on this machine opens it: it is lost with this machine."
		}
		if k.Recovery {
			row.Text += " The recovery key opens it too."
		} else {
			row.Icon, row.Text = "warning", row.Text+" No recovery key opens it."
		}
	}
	return row
}
