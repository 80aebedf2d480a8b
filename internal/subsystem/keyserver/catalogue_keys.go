package keyserver

import (
	"slices"

	"allclear/internal/fault"
)

func keyFaults() []fault.Entry {
	sense := slices.Concat(exchangeFacts, keyFacts)
	return []fault.Entry{
		{
			Code: CodeKeyMissing, Severity: fault.Critical,
			Title:  "Key server does not give a key that is used here",
			Impact: "What the key opens cannot be opened by this server; when every server fails so, it is lost but for the recovery key.",
			Cause:  "The server answers and does not have generation {generation} of the key, or keeps it from this node.",
			Raise:  "Get does not return a key that a slot hangs on", Clear: "it is returned with the right bytes",
			Remedy: []fault.Remedy{
				run("See which servers still have it.", readsOnly, "allclear keyserver list"),
				text("See on the server: replication, the state of the key {unique_id}, the device group and the rights of this node's certificate.", readsOnly),
				text("Never make the key anew: another key opens nothing. Restore it from a server that has it, or from the server's backup.", "none"),
				run("Look again.", oneLook, "allclear verify {resource}"),
			},
			Variants: []fault.Variant{
				{Name: "not-found", Title: "Key server does not know a key that is used here", Cause: "It has no key {unique_id}: it was destroyed, or never replicated to it."},
				{Name: "permission", Title: "Key server keeps a key from us that is used here", Cause: "This node may ask, but not for {unique_id}: the device group or the rights were changed."},
			},
			Facts: sense, Applies: "every key that a slot of this node hangs on, on every server of its group",
		},
		{
			Code: CodeKeyWrong, Severity: fault.Critical,
			Title:  "Key server gives other bytes than those that were used",
			Impact: "What the key opens cannot be opened by this server. Nothing is written with the wrong key: the check value stands guard.",
			Cause:  "The server holds another key under {unique_id}: it was restored from a wrong backup, or replaced.",
			Raise:  "the check value of what Get returns is not that of the slot", Clear: "the right bytes are returned",
			Remedy: []fault.Remedy{
				text("Take the server out of use, and restore it. Do not renew the key before: the renewal needs the old one.", "keys come from the other servers"),
				run("See what could still be opened without it.", readsOnly, "allclear keyserver list"),
				run("Look again.", oneLook, "allclear verify {resource}"),
			},
			Facts: append(sense, "check_have", "check_want"), Applies: "every key that a slot of this node hangs on, on every server of its group",
		},
		{
			Code: CodeReplicaLag, Severity: fault.Minor, Severities: "major after 24 hours",
			Title:    "Clone does not have the newest key",
			Impact:   "The renewal waits: a key is not used before every server has it.",
			Cause:    "The key was made on {primary} and has not come here by replication.",
			Raise:    "a key that is prepared on the primary is not returned by the clone, or with other bytes",
			Clear:    "the clone returns it with the same check value, or the renewal is cancelled",
			Escalate: []fault.Escalation{{After: day, To: fault.Major}},
			Remedy: []fault.Remedy{
				text("Look at the replication from {primary} to this server, on the servers.", readsOnly),
				testAgain("{resource}"),
				run("When it has arrived, go on with the renewal; or cancel it.", "as the step says", "allclear key rekey --prepare"),
			},
			Variants: []fault.Variant{
				{Name: "missing", Title: "Clone does not have the newest key"},
				{Name: "differs", Title: "Clone has other bytes for the newest key", Cause: "The key that was made on {primary} has other bytes here."},
			},
			Facts: append(append([]string{}, sense...), "primary", "check_have", "check_want"), Applies: "every server that is not the primary of its group",
		},
	}
}

// whatStops are the faults of servers that take a server out of use.
func whatStops() []fault.Code {
	return []fault.Code{CodeUnreachable, CodeTLSFailed, CodeClientNotAccepted, CodeUnsupported, CodeKMIPError}
}

func groupFaults() []fault.Entry {
	facts := []string{"group", "servers", "usable", "unusable"}
	return []fault.Entry{
		{
			Code: CodeNoPrimary, Severity: fault.Major,
			Title:  "Group of key servers has not exactly one primary",
			Impact: "Keys can be read. None can be made or renewed.",
			Cause:  "The primary must be defined before a key can be renewed (seed 002): {primaries}.",
			Raise:  "no server of the group is defined as its primary, or several are", Clear: "exactly one is",
			Remedy: []fault.Remedy{
				run("See what each server says it is.", readsOnly, "allclear keyserver list"),
				text("Define the one with the role MASTER: allclear keyserver set --primary NAME.", "the server is validated at once; keys are made there from then on"),
			},
			Variants: []fault.Variant{
				{Name: "none", Title: "Group of key servers has no primary", Cause: "No server of it is defined as the primary."},
				{Name: "several", Title: "Group of key servers has several primaries", Cause: "Defined as the primary are {primaries}."},
			},
			Facts: []string{"group", "primaries"}, Applies: "every group with a server",
		},
		{
			Code: CodeRedundancyLost, Severity: fault.Major,
			Title:  "Fewer than two key servers are usable",
			Impact: "The next server that fails takes the keys with it.",
			Cause:  "Usable are: {usable}. Others are not: {unusable}.",
			Raise:  "the newest validations found fewer than two servers of the group usable", Clear: "two are usable",
			Remedy: []fault.Remedy{
				run("See what is wrong with the others, and mend it.", readsOnly, "allclear keyserver list"),
				text("Or add another server to the group: allclear keyserver add NAME --address HOST:PORT --group {group} --cert FILE --key FILE.", "the server is validated at once"),
			},
			Variants: []fault.Variant{
				{Name: "single", Title: "Group has one key server only", Cause: "A second one must be added: a single server is no redundancy."},
			},
			Facts: facts, CausedBy: whatStops(), Applies: "every group with a server",
		},
		{
			Code: CodeAllLost, Legacy: []string{"BE14CFE0"}, Severity: fault.Critical,
			Title:  "No key server gives this node a key",
			Impact: "Work that is under way goes on with keys in memory for the grace time. New work stops; nothing is ever written in plain instead.",
			Cause:  "Every server of the group fails: {unusable}.",
			Raise:  "the newest validations found no server of the group usable", Clear: "one is usable (seed: event BE14CFE1)",
			Remedy: []fault.Remedy{
				run("See what is wrong with each.", readsOnly, "allclear keyserver list"),
				text("Repair one of them: the first that answers ends this.", "none"),
				text("If they are gone for good, the recovery key opens everything: it is on paper, where you put it.", "secrets are read from this node's disk with the recovery key"),
			},
			Facts: facts, Readings: []string{"cached_until"}, Applies: "every group with a server",
		},
		{
			Code: CodeDegraded, Severity: fault.Minor,
			Title:  "Some nodes reach the key server, others do not",
			Impact: "Keys can be had on some nodes only.",
			Cause:  "It is judged over several nodes.",
			Never:  "a system is one node until there is a hub: what one node sees is told by the faults above",
		},
	}
}

func renewalFaults() []fault.Entry {
	facts := []string{"key", "phase", "unique_id", "unique_id_old", "key_name"}
	return []fault.Entry{
		{
			Code: CodeRekeyFailed, Legacy: []string{"chencryption"}, Severity: fault.Major,
			Title:  "A step of a key's renewal failed",
			Impact: "Everything opens as before: a renewal changes nothing before it is proved. The key is not renewed.",
			Cause:  "Phase {phase} did not end well.",
			Raise:  "a step of the renewal failed and was not repeated with success", Clear: "the step succeeds, or the renewal is cancelled",
			Remedy: []fault.Remedy{
				run("See what failed.", readsOnly, "allclear key list"),
				text("Mend what the message names, and ask for the same step again: it goes on where it stopped.", "none"),
				run("Or take the renewal back.", "the new key is destroyed; everything opens with the old one", "allclear key rekey --cancel"),
			},
			Variants: []fault.Variant{
				{Name: "prepare", Title: "A new key could not be prepared"},
				{Name: "verify", Title: "A new key could not be proved"},
				{Name: "commit", Title: "A new key could not be taken into use"},
				{Name: "retire", Title: "An old key could not be retired"},
				{Name: "cancel", Title: "A renewal could not be taken back"},
			},
			Facts: facts, Readings: []string{"failed_at"}, Applies: "the keys of this node, while a renewal is under way",
		},
		{
			Code: CodeRekeyStale, Severity: fault.Warning,
			Title:  "A renewed key waits to be taken into use",
			Impact: "None: everything opens with the key before.",
			Cause:  "It was prepared more than a day ago and neither committed nor cancelled.",
			Raise:  "a renewal stands between prepared and committed for more than 24 hours", Clear: "it is committed or cancelled",
			Remedy: []fault.Remedy{
				run("Take it into use.", "everything gets a slot for the new key; the old slots stay", "allclear key rekey --commit"),
				run("Or take it back.", "the new key is destroyed", "allclear key rekey --cancel"),
			},
			Facts: facts, Readings: []string{"since"}, Applies: "the keys of this node, while a renewal is under way",
		},
		{
			Code: CodeRecoveryUnproven, Legacy: []string{"recoverykey"}, Severity: fault.Warning,
			Title:  "Nobody has proved that the recovery key is still there",
			Impact: "None while the key servers live. Without them everything hangs on a piece of paper that nobody has tried.",
			Cause:  "The offline recovery key was last validated: {validated}.",
			Raise:  "it was never validated, or not for 180 days", Clear: "it is validated",
			Remedy: []fault.Remedy{
				run("Fetch the recovery key from where it is kept, and type it in.", "opens each thing once and compares; nothing is stored but the time", "allclear key recovery validate"),
				run("If it is gone, make another.", "everything gets a slot for the new one", "allclear key recovery create"),
			},
			Variants: []fault.Variant{
				{Name: "never", Title: "The recovery key was never tried"}, {Name: "old", Title: "The recovery key was not tried for half a year"},
			},
			Facts: []string{"fingerprint"}, Readings: []string{"validated", "created"}, Applies: "this node, once a recovery key was made",
		},
		{
			Code: CodeRemovalRefused, Legacy: []string{"65536700"}, Severity: fault.Warning,
			Title:  "A key server was not removed, because keys in use would be lost",
			Impact: "None: the command is refused and says which keys and things hang on the server.",
			Cause:  "No other server was found to have them.",
			Never:  "the command is refused at once with the same words; nothing is left to be mended",
		},
	}
}
