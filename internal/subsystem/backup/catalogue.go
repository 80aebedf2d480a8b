package backup

import (
	"slices"

	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// The codes of jobs and their copies.
const (
	CodeJobFailed      fault.Code = "backup/job-failed"
	CodeTransfer       fault.Code = "backup/transfer-interrupted"
	CodeLocal          fault.Code = "backup/local-failed"
	CodeVerify         fault.Code = "backup/verify-failed"
	CodeOverdue        fault.Code = "backup/overdue"
	CodeRestoreDrill   fault.Code = "backup/restore-drill"
	CodeRetention      fault.Code = "backup/retention-failed"
	CodeKeyUnavailable fault.Code = "backup/key-unavailable"

	// codeAllLost belongs to the owner of the key servers: none of a group answers.
	codeAllLost fault.Code = "keyserver/all-lost"
)

// The impacts of steps.
const (
	readsOnly  = "none: it only reads"
	oneRun     = "one run: load on this machine, the network and the target; older copies stay"
	oneConnect = "one connection to the server"
)

var (
	runAgain = fault.Remedy{Text: "Run the job now: the fault clears when a run succeeds and its copy is verified.", Impact: oneRun, Command: "allclear backup run {resource} --wait"}
	showJob  = fault.Remedy{Text: "See the stages of the newest runs and what the other side answered.", Impact: readsOnly, Command: "allclear backup show {resource}"}
)

// sshCodes are those that a connection can fail by.
func sshCodes() []fault.Code {
	var codes []fault.Code
	for _, c := range sshpolicy.Codes() {
		codes = append(codes, fault.Code(c))
	}
	return codes
}

func targetCauses() []fault.Code { return []fault.Code{CodeNoSpace, CodeAccessDenied, CodeNoSFTP} }

// Faults are the catalogue entries of this package.
func Faults() []fault.Entry {
	jobs := []fault.Entry{
		jobFailed(), transferInterrupted(), localFailed(), verifyFailed(), overdue(), restoreDrill(), retentionFailed(), keyUnavailable(),
	}
	for i := range jobs {
		jobs[i].Facts = append(jobs[i].Facts, "job", "kind", "target", "address")
		jobs[i].Applies = "every backup job"
	}
	return slices.Concat(jobs, targetFaults(), keyFaults())
}

func jobFailed() fault.Entry {
	return fault.Entry{
		Code: CodeJobFailed, Legacy: []string{"F999723", "FSM:FAILED"}, Severity: fault.Critical,
		Title:  "Backup job failed",
		Impact: "What was to be saved is not at the target. The copies made before are untouched.",
		Cause:  "The run ended in stage {stage}: {child_code}. The fault of that code says why; the appliance's own text for this (\"End point timed out\") does not.",
		Raise:  "a run ends in fail after all its tries, or was cut off",
		Clear:  "a later run succeeds, its copy read back",
		Remedy: []fault.Remedy{
			{Text: "Open the fault named as the cause and mend that first: {child_code}.", Impact: readsOnly, Command: "allclear fault list"},
			showJob, runAgain,
		},
		Variants: []fault.Variant{
			{Name: "begin", Title: "Backup job failed before it began", Cause: "The key, the target or its folder could not be had: {child_code}."},
			{Name: "source", Title: "Backup job failed reading its source", Cause: "What was to be saved could not be read: {child_code}."},
			{Name: "transfer", Title: "Backup job failed in the transfer", Cause: "The data did not arrive whole: {child_code}. Nothing partial stands under the name of a copy."},
			{Name: "verify", Title: "Backup job failed its verification", Cause: "The copy was stored and does not read back as it was sent: {child_code}."},
			{Name: "done", Title: "Backup job failed at its end", Cause: "The copy is stored and verified; closing the run failed: {child_code}."},
			{Name: "interrupted", Title: "Backup run was cut off", Cause: "The agent or the machine stopped during stage {stage}. The next run begins anew; nothing partial counts as a copy.", Remedy: []fault.Remedy{showJob, runAgain}},
			{Name: scpOnly, Title: "Backup target cannot hold a repository", Cause: "The account may run nothing but scp. Files can be stored and never removed: a repository could not be unlocked or pruned, so none is begun.", Remedy: []fault.Remedy{
				{Text: "Offer SFTP to the account and set protocol: any or sftp for {target}.", Impact: "the next run uses SFTP"},
				{Text: "Or give the account a shell.", Impact: "the account can run programs at the server"},
				{Text: "Or set kind: archive for {resource}: archives need no removing, and old ones stay until somebody removes them there.", Impact: "the next copy is a whole one"},
				runAgain,
			}},
		},
		CausedBy: slices.Concat(sshCodes(), targetCauses(), []fault.Code{CodeTransfer, CodeLocal, CodeVerify, CodeKeyUnavailable}),
		Facts:    []string{"stage", "type", "child_code", "class", "remote"},
		Readings: []string{"run", "try", "percent", "bytes", "failures", "since"},
	}
}

func transferInterrupted() fault.Entry {
	return fault.Entry{
		Code: CodeTransfer, Legacy: []string{"intermittent-error"}, Severity: fault.Major,
		Title:  "Transfer to the backup target breaks off",
		Impact: "The run failed although login, space and rights are well; the next may too.",
		Cause:  "The connection was lost, or stood still, while data was sent.",
		Raise:  "after all tries: no progress for the target's stall time, the connection ended, or a stored file has another size than was sent",
		Clear:  "a later run sends all its data",
		Remedy: []fault.Remedy{
			{Text: "Look for what ends long connections between here and {address}: firewall idle times, NAT tables, a VPN that renews, an overloaded server.", Impact: readsOnly},
			showJob, runAgain,
		},
		Variants: []fault.Variant{
			{Name: "stall", Title: "Transfer to the backup target stands still", Cause: "The server stopped taking data without closing the connection: it hangs, its disk does, or packets are dropped on the way.", Remedy: []fault.Remedy{
				{Text: "See whether the server's disk or the server itself hangs; look for a path whose packet size limit is not announced (an MTU black hole).", Impact: readsOnly, Command: "ping -c 3 -M do -s 1472 {host}"},
				showJob, runAgain,
			}},
			{Name: "reset", Title: "Connection to the backup target is cut during the transfer", Cause: "The server or something between ended the connection."},
			{Name: "short", Title: "Backup target stores less than was sent", Cause: "The server reported success and holds another size: a full disk behind a cache, a quota, or a broken server.", Remedy: []fault.Remedy{
				{Text: "Check free space and quota of the account at the server, and its logs.", Impact: readsOnly, Command: "allclear verify {target}"},
				showJob, runAgain,
			}},
		},
		CausedBy: []fault.Code{sshpolicy.CodeUnreachable, sshpolicy.CodeNotSSH},
		Facts:    []string{"host", "remote", "path"},
		Readings: []string{"run", "offset", "rate", "try"},
	}
}

func localFailed() fault.Entry {
	return fault.Entry{
		Code: CodeLocal, Legacy: []string{"backupLocal", "mgmt-backup-local-internal-backup-failed"}, Severity: fault.Critical,
		Severities: "minor when only single files were skipped and the run succeeded",
		Title:      "Backup cannot read what it should save",
		Impact:     "No copy is made.",
		Cause:      "A source is missing, a command failed, or this machine's own disk is full or broken.",
		Raise:      "a run cannot build its copy, or had to skip a file",
		Clear:      "a later run reads everything",
		Remedy:     []fault.Remedy{showJob, runAgain},
		Variants: []fault.Variant{
			{Name: "source", Title: "Backup source is missing", Cause: "{path} is not there, or cannot be entered.", Remedy: []fault.Remedy{
				{Text: "See whether {path} was moved or is not mounted; else take it out of the job's sources.", Impact: readsOnly, Command: "ls -ld {path}"},
				runAgain,
			}},
			{Name: "skipped", Title: "Backup skips files that it cannot read", Cause: "{files_skipped} files could not be read, the first is {path}: {errno}. All others are saved.", Remedy: []fault.Remedy{
				{Text: "See the list of skipped files; give the agent's user the right to read them, or exclude them from the job.", Impact: readsOnly, Command: "allclear backup show {resource}"},
				runAgain,
			}},
			{Name: "command", Title: "Backup's command fails", Cause: "The command that makes the content ended with an error; its output was not stored.", Remedy: []fault.Remedy{
				{Text: "Run the job's command by hand as its user and see what it says.", Impact: "whatever the command does"},
				runAgain,
			}},
			{Name: "untrusted", Title: "Backup's command may be changed by others", Cause: "The program, or a folder above it, belongs to somebody else or is writable by others. It was not run.", Remedy: []fault.Remedy{
				{Text: "Give {path} to root and take the write right from group and others.", Impact: "others can no longer change the program", Command: "chown root {path} && chmod go-w {path}"},
				runAgain,
			}},
			{Name: "no-space", Title: "This machine's disk is full, so no backup can be built", Cause: "There is no room in the state directory or the temporary folder.", Remedy: []fault.Remedy{
				{Text: "Free space on this machine.", Impact: "what you remove is gone", Command: "df -h"},
				runAgain,
			}},
			{Name: "encrypt", Title: "Backup cannot be encrypted", Cause: "The archive could not be encrypted; plaintext is never sent instead."},
		},
		Facts:    []string{"path", "reason"},
		Readings: []string{"run", "files_skipped"},
	}
}

func verifyFailed() fault.Entry {
	return fault.Entry{
		Code: CodeVerify, Legacy: []string{"importVerifyKey"}, Severity: fault.Critical,
		Title:  "Backup copy does not read back as it was stored",
		Impact: "A restore from this job's copies may fail or give wrong data.",
		Cause:  "The target lost or changed what was stored, or the key does not fit it.",
		Raise:  "a read-back differs, a needed file is missing, or a header or key check fails",
		Clear:  "a later verification of all copies finds everything whole, or the damaged copy is gone",
		Remedy: []fault.Remedy{
			{Text: "See everything that is damaged.", Impact: "reads from the target", Command: "allclear backup verify {resource}"},
			{Text: "Check the target's storage (SMART, RAID, file system) before you trust it with another copy.", Impact: readsOnly},
			{Text: "Make a new copy at once.", Impact: oneRun, Command: "allclear backup run {resource} --wait"},
		},
		Variants: []fault.Variant{
			{Name: "hash", Title: "Backup copy was changed at the target", Cause: "The content of {path} is not what was stored."},
			{Name: "decrypt", Title: "Backup copy cannot be decrypted", Cause: "{path} does not open with this job's key: it was changed, or belongs to another key."},
			{Name: "truncated", Title: "Backup copy is cut short", Cause: "{path} is shorter than what was stored."},
			{Name: "missing", Title: "Part of a backup copy is missing at the target", Cause: "{path} is gone: somebody or something removed it."},
		},
		Facts:    []string{"path", "expected", "actual", "key_id"},
		Readings: []string{"problems", "size", "verified"},
	}
}

func overdue() fault.Entry {
	return fault.Entry{
		Code: CodeOverdue, Legacy: []string{"config-backup-outdated"}, Severity: fault.Major,
		Severities: "minor before the first verified copy",
		Title:      "Backup is overdue",
		Impact:     "The newest copy that was proved readable is older than agreed: what changed since would be lost.",
		Cause:      "{reason}",
		Raise:      "the newest verified copy is older than the job's limit, whatever the reason: failed, disabled, never run, machine off",
		Clear:      "a run succeeds and its copy is verified",
		Remedy:     []fault.Remedy{showJob, runAgain},
		Variants: []fault.Variant{
			{Name: "never", Title: "Backup was never made", Remedy: []fault.Remedy{runAgain}},
			{Name: "disabled", Title: "Backup is disabled and overdue", Remedy: []fault.Remedy{
				{Text: "Enable the job in the configuration and reload, or run it by hand.", Impact: oneRun, Command: "allclear backup run {resource} --wait"},
			}},
			{Name: "failing", Title: "Backup is overdue because its runs fail"},
			{Name: "not-run", Title: "Backup is overdue because it did not run"},
		},
		Facts:    []string{"limit", "reason"},
		Readings: []string{"last_good", "age"},
	}
}

func restoreDrill() fault.Entry {
	drill := fault.Remedy{Text: "Drill a restore now: random files are fetched, decrypted and compared; nothing is written.", Impact: "reads from the target", Command: "allclear backup drill {resource}"}
	return fault.Entry{
		Code: CodeRestoreDrill, Severity: fault.Major,
		Title:  "Restore drill did not pass",
		Impact: "It is not proved that files of this job can be restored.",
		Cause:  "The drill failed, or none passed for too long.",
		Raise:  "a restore drill failed, or the last one passed is older than its limit",
		Clear:  "a restore drill passes",
		Remedy: []fault.Remedy{drill},
		Variants: []fault.Variant{
			{Name: "failed", Title: "Restore drill failed", Cause: "{path} was not restored as it had been saved.", Remedy: []fault.Remedy{
				{Text: "Verify all copies of the job: other files may be damaged too.", Impact: "reads from the target", Command: "allclear backup verify {resource}"},
				{Text: "Make a new copy.", Impact: oneRun, Command: "allclear backup run {resource} --wait"},
				drill,
			}},
			{Name: "overdue", Title: "No restore drill has passed for too long", Cause: "The last restore drill that passed was {last_good}."},
		},
		Facts:    []string{"path"},
		Readings: []string{"drill_id", "last_good", "copy"},
	}
}

func retentionFailed() fault.Entry {
	return fault.Entry{
		Code: CodeRetention, Legacy: []string{"max_files"}, Severity: fault.Minor,
		Title:  "Old backup copies cannot be removed",
		Impact: "New copies are made, and the target fills up.",
		Cause:  "The target refuses to remove files: the account may only add, storage is immutable, or another program holds a lock.",
		Raise:  "after a successful run the copies beyond the keep rules could not be removed",
		Clear:  "a later run removes them",
		Remedy: []fault.Remedy{
			{Text: "See what the target answered.", Impact: readsOnly, Command: "allclear backup show {resource}"},
			{Text: "Give the account the right to remove files in the job's folder, or wait for the end of the storage's own lock.", Impact: "the account can then also destroy copies"},
			runAgain,
		},
		Facts:    []string{"remote", "path"},
		Readings: []string{"copies", "expired"},
	}
}

func keyUnavailable() fault.Entry {
	return fault.Entry{
		Code: CodeKeyUnavailable, Severity: fault.Critical, CausedBy: []fault.Code{codeAllLost},
		Title:  "Key of the backup job cannot be opened",
		Impact: "The job cannot run and its copies cannot be restored by this machine. Nothing is ever stored without encryption instead.",
		Cause:  "The sealed key is damaged, or nothing that opens it can be reached.",
		Raise:  "the job's key cannot be opened or sealed",
		Clear:  "a look opens the key",
		Remedy: []fault.Remedy{
			{Text: "See which keys could open it and why they do not.", Impact: readsOnly, Command: "allclear key list"},
			{Text: "Look again: the fault clears when the key opens.", Impact: "asks the key servers once", Command: "allclear verify {resource}"},
			{Text: "If everything else is lost, the offline recovery key opens it: type it in.", Impact: "everything gets a slot for a key that there is", Command: "allclear key recovery use"},
		},
		Variants: []fault.Variant{
			{Name: "missing", Title: "Key of the backup job is gone", Cause: "The job has made copies before, and the file that holds its sealed key is not there any more. A new key would not open them."},
			{Name: "damaged", Title: "Sealed key of the backup job is damaged", Cause: "Both stored forms of the sealed key are unreadable: a disk error, or somebody changed them."},
			{Name: "unreachable", Title: "Nothing opens the key of the backup job", Cause: "The sealed key is whole; of the keys that open it none could be had, {tried} were tried."},
		},
		Facts: []string{"key_id"}, Readings: []string{"tried"},
	}
}
