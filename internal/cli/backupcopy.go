package cli

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/app"
	"allclear/internal/wire"
)

func (c *commands) backupListCommand() *cobra.Command {
	var in wire.BackupListRequest
	cmd := &cobra.Command{
		Use: "list [JOB]", Short: "List jobs, the copies of a job, or the files in a copy",
		Long: `Without a job list the jobs. With one list its copies, the newest first; with
--path or --match list files of a copy: those in a folder, or all whose name
matches a pattern.`,
		Example: "allclear backup list etc --match 'sshd_config*'",
		Args:    atMostOne("the name of a job, or none"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			switch {
			case len(args) == 0 && (in.Path != "" || in.Match != "" || in.Snapshot != ""):
				return usagef("allclear backup list JOB --path /etc", "files are in the copies of a job, and no job is named")
			case len(args) == 0:
				list, err := view[wire.List[wire.BackupJob]](ctx, c, "backup", "jobs", nil)
				if err != nil {
					return err
				}
				c.show(list, func() { c.printJobs(list.Items) }, "")
			case in.Path == "" && in.Match == "":
				list, err := act[wire.List[wire.BackupSnapshot]](ctx, c, "backup", "snapshots", wire.BackupJobRequest{Job: args[0]}, nil)
				if err != nil {
					return err
				}
				c.show(list, func() { c.printSnapshots(args[0], list.Items) }, "")
			default:
				in.Job = args[0]
				list, err := act[wire.List[wire.BackupFile]](ctx, c, "backup", "list", in, nil)
				if err != nil {
					return err
				}
				c.show(list, func() { c.printFiles(list.Items) }, "")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Snapshot, "snapshot", "", "a copy by its id (default: the newest)")
	f.StringVar(&in.Path, "path", "", "the folder whose files are listed")
	f.StringVar(&in.Match, "match", "", "a pattern for names, such as '*.conf'; looks in all folders below --path")
	f.IntVar(&in.Limit, "limit", 1000, "how many files at most")
	return cmd
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef(cmd.UseLine(), "%s takes %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

func (c *commands) printJobs(jobs []wire.BackupJob) {
	if len(jobs) == 0 {
		c.out.line("No backup job is configured: nothing of this host is backed up here. See backup: in allclear config example.")
		return
	}
	rows := make([][]string, 0, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		last := "never"
		if j.Last != nil {
			last = c.out.clock(j.Last.Started) + " " + c.runState(j.Last.State)
		}
		rows = append(rows, []string{safe(j.Name), safe(j.Kind), safe(j.Target), safe(j.State), last, c.out.clockOf(j.Proof.Verified), c.out.clockOf(j.Proof.DrillPassed), nextOnly(c, j)})
	}
	c.out.table([]string{"JOB", "KIND", "TARGET", "STATE", "LAST RUN", "VERIFIED COPY", "RESTORE DRILL", "NEXT"}, rows)
}

func nextOnly(c *commands, j *wire.BackupJob) string {
	switch {
	case j.Disabled != "":
		return "paused"
	case j.Next != nil:
		return c.out.clock(*j.Next)
	}
	return "on demand"
}

func (c *commands) printSnapshots(job string, copies []wire.BackupSnapshot) {
	if len(copies) == 0 {
		c.out.line("Job %s has no copy yet; make one with: allclear backup run %s --wait", safe(job), safe(job))
		return
	}
	rows := make([][]string, 0, len(copies))
	for i := range copies {
		s := &copies[i]
		files, bytes := "", ""
		if s.Files > 0 {
			files = strconv.FormatInt(s.Files, 10)
		}
		if s.Size > 0 {
			bytes = size(s.Size)
		}
		rows = append(rows, []string{safe(short(s.ID)), c.out.clock(s.Time), safe(s.Host), files, bytes, safe(strings.Join(s.Paths, " "))})
	}
	c.out.table([]string{"COPY", "MADE", "HOST", "FILES", "SIZE", "OF"}, rows)
}

// short is how people name a snapshot; names of archives stay whole.
func short(id string) string {
	const hexID = 64
	if len(id) == hexID && strings.Trim(id, "0123456789abcdef") == "" {
		return id[:8]
	}
	return id
}

func (c *commands) printFiles(files []wire.BackupFile) {
	rows := make([][]string, 0, len(files))
	for i := range files {
		f := &files[i]
		name := safe(f.Path)
		if f.Link != "" {
			name += " -> " + safe(f.Link)
		}
		rows = append(rows, []string{safe(f.Mode), safe(f.Owner), strconv.FormatInt(f.Size, 10), c.out.clock(f.Modified), name})
	}
	if len(rows) == 0 {
		c.out.line("Nothing in the copy matches.")
		return
	}
	c.out.table(nil, rows)
}

func (c *commands) backupRestoreCommand() *cobra.Command {
	var o app.RestoreOptions
	var snapshot string
	var inPlace, replace bool
	cmd := &cobra.Command{
		Use: "restore JOB [PATH ...]", Short: "Restore a copy, or some paths of it",
		Long: `Restore the newest copy of a job, or the one that --snapshot names, or only the
paths that are named, below the folder --to (which gets etc/passwd for
/etc/passwd), or with --in-place where they came from.

The files are written by this command with your own rights, never by the agent.
Files of the same name are replaced, all others stay (merge); with --replace what
the copy does not have is removed below the restored paths, after everything
else has succeeded. Owners need root; setuid bits, devices and system attributes
need --privileged as well. A restore that was broken off goes on with --resume.
Exit code 1 when anything is missing.`,
		Example: "allclear backup restore etc /etc/ssh --to restored",
		Args:    atLeastOne("the name of a job, then paths"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if inPlace == (o.Dest != "") {
				return usagef("--to DIR, or --in-place", "a restore goes to a folder, or to where the files came from")
			}
			if inPlace {
				o.Dest = "/"
			}
			q := url.Values{"job": {args[0]}, "snapshot": {snapshot}}
			for _, p := range args[1:] {
				if !filepath.IsAbs(p) {
					return usagef("paths are those that were backed up, such as /etc/ssh", "path %q is not absolute", p)
				}
				q.Add("path", filepath.Clean(p))
			}
			if replace {
				o.Replace = q["path"]
				o.ReplaceRoots = len(o.Replace) == 0
			}
			return c.restore(cmd, q, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dest, "to", "", "the folder to restore into")
	f.BoolVar(&inPlace, "in-place", false, "restore where the files came from")
	f.StringVar(&snapshot, "snapshot", "", "a copy by its id (default: the newest)")
	f.BoolVar(&replace, "replace", false, "remove what the copy does not have, below the restored paths")
	f.BoolVar(&o.Privileged, "privileged", false, "as root: also setuid bits, devices and system attributes")
	f.BoolVar(&o.Resume, "resume", false, "leave files alone that are there with the same size and time")
	return cmd
}

func (c *commands) restore(cmd *cobra.Command, q url.Values, o app.RestoreOptions) error {
	api := c.client()
	defer api.Close()
	body, err := api.Download(cmd.Context(), "backup", "restore", q)
	if err != nil {
		return err
	}
	defer body.Close()
	bar := c.bar()
	o.Progress = bar.tell
	r, err := c.program.Restore(cmd.Context(), body, o)
	bar.end()
	if r.Snapshot.ID == "" && err != nil {
		return err // nothing was begun
	}
	c.show(r, func() { c.printRestore(&r) }, "")
	if err != nil {
		return fmt.Errorf("the restore is not complete: %w", err)
	}
	if r.Missing > 0 {
		return found{exitError}
	}
	return nil
}

func (c *commands) printRestore(r *wire.BackupRestore) {
	state := c.out.style(styleGood, "restored:")
	if !r.Complete || r.Missing > 0 {
		state = c.out.style(styleBad, "not complete:")
	}
	c.out.line("%s %s of copy %s of %s to %s, %s, %s", state, count(int(r.Files), "file"), safe(short(r.Snapshot.ID)), c.out.clock(r.Snapshot.Time), safe(r.Destination), count(int(r.Folders), "folder"), size(r.Bytes))
	for _, n := range []struct {
		n    int64
		what string
	}{
		{r.Same, "were there already, unchanged"},
		{r.Removed, "removed, because the copy does not have them"},
		{r.Missing, "could not be restored"},
		{r.Incomplete, "restored without some of their attributes"},
		{r.Held.Owners, "belong to you, not to their owner: run as root to restore owners"},
		{r.Held.SetID + r.Held.Devices + r.Held.Xattrs, "setuid bits, devices or system attributes held back: run as root with --privileged"},
	} {
		if n.n > 0 {
			c.out.line("  %d %s", n.n, n.what)
		}
	}
	for _, p := range r.Problems {
		c.out.line("  %s: %s", safe(p.Path), safe(p.Why))
	}
	if !r.Complete && r.Last != "" {
		c.out.line("the last path in place is %s; go on with --resume", safe(r.Last))
	}
}
