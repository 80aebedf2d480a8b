package backup

import "allclear/internal/fault"

// The codes of targets, settings and keys as a whole.
const (
	CodeNoSpace      fault.Code = "backup/target/no-space"
	CodeAccessDenied fault.Code = "backup/target/access-denied"
	CodeNoSFTP       fault.Code = "backup/target/no-sftp"
	CodeInsecure     fault.Code = "backup/insecure-setting"
	CodeUpgrade      fault.Code = "backup/upgrade-would-break"
	CodeKeyLocal     fault.Code = "backup/key-local"
	CodeNoRecovery   fault.Code = "backup/recovery-key-missing"
)

// keysResource is the resource of what concerns the keys of all jobs.
const keysResource = "backup"

var verifyTarget = fault.Remedy{
	Text:   "Look again: a test file is written, renamed and removed.",
	Impact: oneConnect, Command: "allclear verify {resource}",
}

func targetFaults() []fault.Entry {
	entries := []fault.Entry{noSpace(), accessDenied(), noSFTP(), insecureSetting(), upgradeWouldBreak()}
	for i := range entries {
		entries[i].Facts = append(entries[i].Facts, "address", "user", "policy")
		entries[i].Applies = "every backup target"
	}
	return entries
}

func noSpace() fault.Entry {
	return fault.Entry{
		Code: CodeNoSpace, Legacy: []string{"ERR-DNLD-no-space"}, Severity: fault.Critical,
		Title:  "Backup target is full",
		Impact: "No further copy can be stored there.",
		Cause:  "{free} of {total} are free in {path}; {need} are needed. SFTP reports a full disk as a plain \"Failure\"; the free space was asked for after it.",
		Raise:  "the server refused to store data and its file system is full, or a look finds less room than the newest copy took",
		Clear:  "a look stores a test file and finds room for the newest copy",
		Remedy: []fault.Remedy{
			{Text: "See what fills the target.", Impact: readsOnly, Command: "ssh {user}@{host} df -h {path}"},
			{Text: "Keep fewer copies (keep: of the jobs {jobs}) and run one of them, or enlarge the file system.", Impact: "copies beyond the keep rules are removed"},
			verifyTarget,
		},
		Variants: []fault.Variant{
			{Name: "quota", Title: "Quota of the backup account is used up", Cause: "The file system has room; the account's quota has none.", Remedy: []fault.Remedy{
				{Text: "See the account's quota at the server and raise it.", Impact: readsOnly, Command: "quota -u {user}"},
				verifyTarget,
			}},
		},
		Facts:    []string{"path", "host", "jobs", "remote"},
		Readings: []string{"free", "total", "need"},
	}
}

func accessDenied() fault.Entry {
	return fault.Entry{
		Code: CodeAccessDenied, Severity: fault.Critical,
		Title:  "Backup target refuses access to its folder",
		Impact: "Nothing can be stored there, though the login is accepted.",
		Cause:  "The account {user} may not write, rename or remove in {path}.",
		Raise:  "making, writing, renaming or removing a test file, or a run's file, is refused",
		Clear:  "a look writes, renames and removes a test file",
		Remedy: []fault.Remedy{
			{Text: "Check owner and mode of the folder at the server.", Impact: readsOnly, Command: "ls -ld {path}"},
			verifyTarget,
		},
		Variants: []fault.Variant{
			{Name: "path", Title: "Folder is missing at the backup target", Cause: "{path} is not there. It is not made by itself, lest a disk that is not mounted be filled up below its mount point.", Remedy: []fault.Remedy{
				{Text: "See that the disk is mounted; then make the folder for {user}.", Impact: "makes a folder", Command: "install -d -m 0700 -o {user} {path}"},
				verifyTarget,
			}},
			{Name: "permission", Title: "Account may not write at the backup target", Remedy: []fault.Remedy{
				{Text: "Give the folder to the account.", Impact: "the account can write there", Command: "chown {user} {path} && chmod 0700 {path}"},
				verifyTarget,
			}},
			{Name: "read-only", Title: "Backup target is read-only", Cause: "The file system at the server is mounted read-only, often after a disk error.", Remedy: []fault.Remedy{
				{Text: "Look in the server's kernel log for disk errors before you mount it writable again.", Impact: readsOnly, Command: "findmnt -T {path}"},
				verifyTarget,
			}},
			{Name: "chroot", Title: "Account at the backup target sees another root", Cause: "The account is confined (ChrootDirectory): {path} is not the path it sees.", Remedy: []fault.Remedy{
				{Text: "Give the path as the confined account sees it, from its own root.", Impact: "copies then go to that folder"},
				verifyTarget,
			}},
		},
		Facts:    []string{"path", "operation", "remote", "host"},
		Readings: []string{"mode"},
	}
}

func noSFTP() fault.Entry {
	return fault.Entry{
		Code: CodeNoSFTP, Severity: fault.Major,
		Title:  "Backup target does not speak the protocol",
		Impact: "Login works and no file can be stored.",
		Cause:  "The server refuses the SFTP subsystem, and the target does not allow SCP instead; or SCP is asked for and the account may not run it.",
		Raise:  "the file protocol that the target is configured for cannot be opened",
		Clear:  "a look opens it",
		Remedy: []fault.Remedy{
			{Text: "Enable the subsystem in sshd_config: Subsystem sftp internal-sftp", Impact: "a restart of sshd; running sessions go on", Command: "sshd -T | grep -i subsystem"},
			{Text: "Or set protocol: any for {resource}: SCP is then used where SFTP is missing, and every run says so.", Impact: "SCP cannot resume and has no atomic rename without a shell"},
			verifyTarget,
		},
		Variants: []fault.Variant{
			{Name: "subsystem", Title: "Backup target has no SFTP"},
			{Name: "scp-disabled", Title: "Backup target does not allow SCP", Remedy: []fault.Remedy{
				{Text: "Install or allow scp for the account, or set protocol: sftp for {resource}.", Impact: "jobs then use SFTP"},
				verifyTarget,
			}},
		},
		Facts: []string{"protocol", "remote"},
	}
}

func insecureSetting() fault.Entry {
	return fault.Entry{
		Code: CodeInsecure, Legacy: []string{"mgmt-backup-unsecured-protocol", "allow_insecure_config"}, Severity: fault.Warning,
		Title:  "Backup runs with a weakened setting",
		Impact: "Copies or logins are less protected than by default.",
		Cause:  "An operator has allowed it: {settings}.",
		Raise:  "a target or one of its jobs has a setting that weakens it",
		Clear:  "the setting is taken out of the configuration, or its end has passed",
		Remedy: []fault.Remedy{
			{Text: "Take the setting out of the configuration and reload: {settings}.", Impact: "jobs that need it fail, and say why"},
			{Text: "If it must stay, give it an end (until:).", Impact: "none before that day"},
		},
		Facts: []string{"settings", "until"},
	}
}

func upgradeWouldBreak() fault.Entry {
	return fault.Entry{
		Code: CodeUpgrade, Legacy: []string{"R0-2"}, Severity: fault.Warning,
		Title:  "Planned policy would cut off the backup target",
		Impact: "None yet. When the planned policy comes into force, no connection to this target can be made and its backups stop.",
		Cause:  "The server offers nothing that {planned} allows in: {missing}.",
		Raise:  "the newest offer of the server lacks a category of the planned policy",
		Clear:  "the server's offer meets the planned policy, or none is planned",
		Remedy: []fault.Remedy{
			{Text: "Give the server an allowed algorithm in each missing category before the policy changes.", Impact: "running sessions go on; new sessions use the new lists", Command: "allclear probe ssh {address} --policy {planned}"},
			verifyTarget,
		},
		Facts: []string{"planned", "missing", "banner"},
	}
}

func keyFaults() []fault.Entry {
	return []fault.Entry{
		{
			Code: CodeKeyLocal, Severity: fault.Warning,
			Title:  "Backup keys hang on a file of this machine",
			Impact: "Whoever copies this machine's disk can read the backups.",
			Cause:  "A file of this machine opens the keys of these jobs: {jobs}.",
			Raise:  "the key of a job has a slot for the local key file, whatever other slots it has",
			Clear:  "no job's key has such a slot: key servers open them all",
			Remedy: []fault.Remedy{
				{Text: "Add key servers (keyservers: in the configuration) and move the keys to them.", Impact: "the keys are sealed anew; copies stay readable", Command: "allclear key create"},
				{Text: "When the grace time is over, take from the local file what it opens.", Impact: "from then on the keys open with a key server or the recovery key only", Command: "allclear key rekey --retire"},
			},
			Facts: []string{"jobs"}, Applies: "backup jobs that have run once",
		},
		{
			Code: CodeNoRecovery, Severity: fault.Major,
			Title:  "Backups have no recovery key",
			Impact: "If this machine is lost, and with it what opens the keys, nobody can ever read its backups.",
			Cause:  "No offline recovery key was made for these jobs: {jobs}.",
			Raise:  "the key of a job has no recovery slot",
			Clear:  "every job's key has a recovery slot",
			Remedy: []fault.Remedy{
				{Text: "Make a recovery key, print it and lock it away: it is shown once.", Impact: "whoever holds it can read every backup", Command: "allclear key recovery create"},
				{Text: "Look again.", Impact: readsOnly, Command: "allclear verify {resource}"},
			},
			Facts: []string{"jobs"}, Applies: "backup jobs that have run once",
		},
	}
}
