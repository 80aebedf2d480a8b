package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/wire"
)

// outputUCS is a run as the one line that an appliance's fault list shows.
const outputUCS = "ucs"

func (c *commands) backupCommand() *cobra.Command {
	return noun("backup", "Back up now, prove copies, restore",
		c.backupRunCommand(), c.backupListCommand(), c.backupShowCommand(), c.backupVerifyCommand(), c.backupRestoreCommand(),
		c.backupDrillCommand(), c.backupTrustCommand(),
		c.backupSecretCommand("password", "Print the password of a job's repository, for restic --password-command",
			"restic -r sftp:... --password-command 'allclear backup password --job etc' snapshots"),
		c.backupSecretCommand("identity", "Print the age identity that opens a job's archives",
			"allclear backup identity --job conf > id; age -d -i id conf-....tar.zst.age | zstd -d | tar x"),
		c.backupPolicyCommand())
}

// act carries out an action of a subsystem and reads its result.
func act[T any](ctx context.Context, c *commands, subsystem, action string, in any, tell func(wire.Progress)) (out T, err error) {
	api := c.client()
	defer api.Close()
	end, err := api.Do(ctx, subsystem, action, in, tell)
	if err != nil {
		return out, err
	}
	b, err := json.Marshal(end.Result)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		err = fmt.Errorf("understand the answer to %s %s: %w", subsystem, action, err)
	}
	return out, err
}

// view reads a view of a subsystem.
func view[T any](ctx context.Context, c *commands, subsystem, path string, q url.Values) (out T, err error) {
	api := c.client()
	defer api.Close()
	err = api.View(ctx, subsystem, path, q, &out)
	return out, err
}

func (c *commands) backupRunCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "run JOB", Short: "Run a job now, or follow the run that is under way",
		Long: `Start a run of a job. With --wait its stages are shown until it ends, and the
exit code is 1 when it failed; an interrupt ends the waiting, not the run.
--output ucs prints the run as one line of an appliance's fault list.`,
		Args: exactly(1, "the name of a job"), Annotations: map[string]string{outputUCS: outputUCS},
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.flags.output == outputUCS && !wait {
				return usagef("add --wait", "a run that has only begun has no such line yet")
			}
			bar := c.bar()
			run, err := act[wire.BackupRun](cmd.Context(), c, "backup", "run", wire.BackupRunRequest{Job: args[0], Wait: wait}, bar.tell)
			bar.end()
			if err != nil {
				return err
			}
			c.show(run, func() { c.printRun(&run) }, run.UCS)
			if wait && run.State != "success" {
				return found{exitError}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the run has ended")
	return cmd
}

// show prints a result in the form that was asked for.
func (c *commands) show(v any, text func(), ucs string) {
	switch c.flags.output {
	case outputJSON:
		c.out.json(v)
	case outputUCS:
		c.out.line("%s", safe(ucs))
	default:
		text()
	}
}

func (c *commands) printRun(r *wire.BackupRun) {
	c.out.line("%s: %s of %s to %s, %s, begun %s", c.runState(r.State), safe(r.Kind), safe(r.Job), safe(r.Target), safe(r.Trigger), c.out.clock(r.Started))
	rows := make([][]string, 0, len(r.Stages))
	for _, s := range r.Stages {
		took := ""
		if s.Started != nil && s.Ended != nil {
			took = ms(s.Ended.Sub(*s.Started).Milliseconds())
		}
		rows = append(rows, []string{strconv.Itoa(s.Order), safe(s.Name), c.stageState(s.State), took, safe(s.Text)})
	}
	c.out.table(nil, rows)
	if r.Result.Code != "" {
		c.out.line("%s %s: %s", c.out.style(styleBad, "cause:"), safe(string(r.Result.Code)), safe(r.Result.Text))
		if r.Result.Remote != "" {
			c.out.line("the other side said: %s", safe(r.Result.Remote))
		}
		c.out.line("next: allclear fault list; allclear fault explain %s", safe(string(r.Result.Code)))
	}
	if r.State == "success" {
		c.out.line("%s, %s; %s sent at %s/s, %s read back; copy %s", count(int(r.Files), "file"), size(r.Bytes), size(r.BytesSent), size(int64(r.Rate)), size(r.BytesRead), safe(r.Copy))
	}
	if s := r.SSH; s != nil {
		mac := s.MACC2S
		if mac == "" {
			mac = "in the cipher"
		}
		c.out.line("%s under %s: %s, %s, %s, MAC %s", safe(strings.ToUpper(r.Protocol)), safe(s.Policy), safe(s.KEX), safe(s.HostKey), safe(s.CipherC2S), safe(mac))
	}
	if r.SkippedCount > 0 {
		c.out.line("%s", c.out.style(styleWarn, count(r.SkippedCount, "thing")+" not in the copy:"))
		for _, s := range r.Skipped {
			c.out.line("  %s: %s", safe(s.Path), safe(s.Why))
		}
	}
	for _, n := range r.Notes {
		c.out.line("note: %s", safe(n))
	}
}

func (c *commands) runState(s string) string {
	switch s {
	case "success":
		return c.out.style(styleGood, "done")
	case "failed", "interrupted":
		return c.out.style(styleBad, s)
	}
	return safe(s)
}

func (c *commands) stageState(s string) string {
	switch s {
	case "success":
		return c.out.style(styleGood, s)
	case "fail":
		return c.out.style(styleBad, s)
	}
	return c.out.style(styleDim, safe(s))
}

func (c *commands) backupShowCommand() *cobra.Command {
	var runs int
	var run string
	cmd := &cobra.Command{
		Use: "show JOB", Short: "Show a job: what was proved of its copies, and its runs",
		Args: exactly(1, "the name of a job"), Annotations: map[string]string{outputUCS: outputUCS},
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := c.job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			q := url.Values{"job": {args[0]}, "limit": {strconv.Itoa(runs)}}
			if run != "" {
				one, err := view[wire.BackupRun](cmd.Context(), c, "backup", "run", url.Values{"id": {run}})
				if err != nil {
					return err
				}
				c.show(one, func() { c.printRun(&one) }, one.UCS)
				return nil
			}
			list, err := view[wire.List[wire.BackupRun]](cmd.Context(), c, "backup", "runs", q)
			if err != nil {
				return err
			}
			var ucs []string
			for i := range list.Items {
				ucs = append(ucs, list.Items[i].UCS)
			}
			c.show(map[string]any{"job": job, "runs": list.Items}, func() { c.printJob(&job, list.Items) }, strings.Join(ucs, "\n"))
			return nil
		},
	}
	cmd.Flags().IntVar(&runs, "runs", 10, "how many runs, the newest first")
	cmd.Flags().StringVar(&run, "run", "", "one run by its id, with all its stages")
	return cmd
}

// job finds a job by its name.
func (c *commands) job(ctx context.Context, name string) (wire.BackupJob, error) {
	list, err := view[wire.List[wire.BackupJob]](ctx, c, "backup", "jobs", nil)
	if err != nil {
		return wire.BackupJob{}, err
	}
	var names []string
	for _, j := range list.Items {
		if j.Name == name {
			return j, nil
		}
		names = append(names, j.Name)
	}
	return wire.BackupJob{}, usagef("jobs are: "+or(strings.Join(names, ", "), "none; see backup: in allclear config example"), "no backup job %q", name)
}

func (c *commands) printJob(j *wire.BackupJob, runs []wire.BackupRun) {
	what := strings.Join(j.Sources, " ")
	if len(j.Command) > 0 {
		what = "output of " + strings.Join(j.Command, " ")
	}
	p := &j.Proof
	rows := [][]string{
		{"backs up", safe(what)},
		{"as", safe(j.Kind) + " at " + safe(j.Target) + ":" + safe(j.Location)},
		{"runs", or(safe(j.Schedule), "on demand") + nextRun(c, j)},
		{"verified", c.out.clockOf(p.Verified) + overdue(j)},
		{"structure", c.out.clockOf(p.Structure)},
		{"read back", fmt.Sprintf("%.0f %% within %s, the oldest reading from %s", p.ReadPercent, or(safe(p.ReadWithin), "-"), c.out.clockOf(p.ReadOldest))},
		{"restore drill", c.out.clockOf(p.DrillPassed)},
		{"key", c.keyState(&j.Key)},
	}
	c.out.line("%s", c.out.style(styleHead, safe(j.Name)))
	c.out.table(nil, rows)
	c.out.heading("Runs")
	if len(runs) == 0 {
		c.out.line("none yet; start one with: allclear backup run %s --wait", safe(j.Name))
	}
	var table [][]string
	for i := range runs {
		r := &runs[i]
		why := safe(r.Result.Text)
		if r.State == "success" {
			why = size(r.BytesSent) + " sent of " + size(r.Bytes)
		}
		table = append(table, []string{c.out.clock(r.Started), safe(r.ID), c.runState(r.State), ms(r.DurationMS), safe(string(r.Result.Code)), why})
	}
	c.out.table([]string{"BEGUN", "RUN", "STATE", "TOOK", "CAUSE", ""}, table)
}

func nextRun(c *commands, j *wire.BackupJob) string {
	switch {
	case j.Disabled != "":
		return ", paused: " + safe(j.Disabled)
	case j.Next != nil:
		return ", next " + c.out.clock(*j.Next)
	}
	return ""
}

func overdue(j *wire.BackupJob) string {
	if j.OverdueAfter == "" {
		return ""
	}
	return ", overdue after " + safe(j.OverdueAfter)
}

func (c *commands) keyState(k *wire.BackupKey) string {
	text := safe(k.State)
	switch {
	case k.State == "readable" && k.Local:
		text += ", only a file on this host opens it"
	case k.State == "readable" && k.From != "":
		text += ", from " + safe(k.From)
	}
	if k.State == "readable" && !k.Recovery {
		text += ", no recovery key: allclear key recovery create"
	}
	if k.Why != "" {
		text += ": " + safe(k.Why)
	}
	return text
}

func (c *commands) backupVerifyCommand() *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use: "verify JOB", Short: "Prove now that a job's copies are whole",
		Long: `Check that everything which a job's copies need is at the target, and read a part
of it back; with --full every byte. Exit code 3 when something is wrong.`,
		Args: exactly(1, "the name of a job"),
		RunE: func(cmd *cobra.Command, args []string) error {
			bar := c.bar()
			v, err := act[wire.BackupVerify](cmd.Context(), c, "backup", "verify", wire.BackupJobRequest{Job: args[0], Full: full}, bar.tell)
			bar.end()
			if err != nil {
				return err
			}
			c.show(v, func() {
				state := c.out.style(styleGood, "whole:")
				if !v.OK {
					state = c.out.style(styleBad, "not whole:")
				}
				copies := "1 copy"
				if v.Copies != 1 {
					copies = fmt.Sprintf("%d copies", v.Copies)
				}
				c.out.line("%s %s of %s in %s (%s); %s read back in %s", state, copies, safe(v.Job), count(int(v.Objects), "object"), size(v.Bytes), size(v.BytesRead), ms(v.DurationMS))
				for _, p := range v.Problems {
					c.out.line("  %s", safe(p))
				}
			}, "")
			if !v.OK {
				return found{exitFaults}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "read back every byte")
	return cmd
}

func (c *commands) backupDrillCommand() *cobra.Command {
	return &cobra.Command{
		Use: "drill JOB", Short: "Restore random files into nothing and compare them",
		Long: `Read random files of a random copy back, hash them and compare the hashes with
those taken when they were saved. Nothing is written. Exit code 3 when one
differs.`,
		Args: exactly(1, "the name of a job"),
		RunE: func(cmd *cobra.Command, args []string) error {
			bar := c.bar()
			d, err := act[wire.BackupDrill](cmd.Context(), c, "backup", "drill", wire.BackupJobRequest{Job: args[0]}, bar.tell)
			bar.end()
			if err != nil {
				return err
			}
			c.show(d, func() {
				if d.Passed {
					c.out.line("%s %s of %s (%s) came back as saved, in %s", c.out.style(styleGood, "passed:"), count(d.Files, "file"), safe(d.Copy), size(d.Bytes), ms(d.DurationMS))
					return
				}
				c.out.line("%s %s: %s", c.out.style(styleBad, "failed:"), safe(d.First), safe(d.Why))
			}, "")
			if !d.Passed {
				return found{exitFaults}
			}
			return nil
		},
	}
}
