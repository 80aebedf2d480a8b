package watch

import (
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// The codes of SSH servers.
const (
	CodeNoCommonAlgorithm fault.Code = sshpolicy.CodeNoCommonAlgorithm
	CodeCryptoError       fault.Code = sshpolicy.CodeCryptoError
	CodeNameNotResolved   fault.Code = sshpolicy.CodeNameNotResolved
	CodeUnreachable       fault.Code = sshpolicy.CodeUnreachable
	CodeNotSSH            fault.Code = sshpolicy.CodeNotSSH
	CodeHostKeyUnknown    fault.Code = sshpolicy.CodeHostKeyUnknown
	CodeHostKeyChanged    fault.Code = sshpolicy.CodeHostKeyChanged
	CodeAuthFailed        fault.Code = sshpolicy.CodeAuthFailed
)

// sshFacts are the sense keys that every look at an SSH server may use.
var sshFacts = []string{
	"address", "host", "policy", "banner", "software", "missing",
	"kex_offered", "kex_allowed", "kex_smallest", "kex_used",
	"host_key_offered", "host_key_allowed", "host_key_smallest",
	"cipher_offered", "cipher_allowed", "cipher_smallest",
	"cipher_c2s_offered", "cipher_c2s_allowed", "cipher_c2s_smallest",
	"cipher_s2c_offered", "cipher_s2c_allowed", "cipher_s2c_smallest",
	"mac_offered", "mac_allowed", "mac_smallest",
	"mac_c2s_offered", "mac_c2s_allowed", "mac_c2s_smallest",
	"mac_s2c_offered", "mac_s2c_allowed", "mac_s2c_smallest",
	"host_key", "pinned", "kex", "kex_used", "cipher", "mac", "host_key_algorithm",
	"rcode", "looks_like", "fips_mode",
	"expected", "known_hosts", "user", "methods_offered", "methods_tried",
}

// sshReadings may differ from look to look of an unchanged fault: the first
// bytes of another service may hold the time, one of several resolvers answers,
// a server that chooses its groups chooses anew.
var sshReadings = []string{"connections", "group_bits", "server_said", "failures", "why", "first_bytes", "resolver"}

const (
	readsOnly  = "none: it only reads"
	oneConnect = "one connection to the server"
	applies    = "every watched SSH server"
)

var (
	probeStep = fault.Remedy{
		Text:   "See what the server offers beside what the policy allows.",
		Impact: oneConnect + ", no credentials", Command: "allclear probe ssh {address} --policy {policy}",
	}
	verifySSH = fault.Remedy{Text: "Look again: the fault clears when this look succeeds.", Impact: oneConnect, Command: "allclear verify {resource}"}
)

func sshFaults() []fault.Entry {
	entries := []fault.Entry{
		noCommonAlgorithm(), cryptoError(), nameNotResolved(), unreachable(),
		notSSH(), hostKeyUnknown(), hostKeyChanged(), authFailed(),
	}
	for i := range entries {
		entries[i].Facts, entries[i].Readings = sshFacts, sshReadings
		if entries[i].Applies == "" {
			entries[i].Applies = applies
		}
	}
	return entries
}

func noCommonAlgorithm() fault.Entry {
	return fault.Entry{
		Code: CodeNoCommonAlgorithm, Legacy: []string{"F999723"}, Severity: fault.Critical,
		Title:  "SSH server and policy have no algorithm in common",
		Impact: "No connection can be made under this policy: backups and other jobs that use this server fail, with messages that blame address, password or space.",
		Cause:  "Key exchange, host key, cipher and MAC are agreed on one by one; in at least one of them the server offers nothing that the policy allows. Usually the policy was tightened by an upgrade, or the server was hardened.",
		Raise:  "in at least one category the server's offer and the policy share no name",
		Clear:  "a look finds a common algorithm in all four categories",
		Remedy: []fault.Remedy{
			probeStep,
			{Text: "Give the server one allowed algorithm in each missing category ({missing}), or upgrade its software.", Impact: "running sessions go on; new sessions use the new lists"},
			{Text: "If it cannot be done, hand the vendor the probe's JSON; the policy is not weakened by allclear.", Impact: readsOnly, Command: "allclear probe ssh {address} --policy {policy} --output json"},
			verifySSH,
		},
		Variants: []fault.Variant{
			{Name: "kex", Title: "SSH server and policy have no key exchange in common"},
			{Name: "host_key", Title: "SSH server and policy have no host key algorithm in common"},
			{Name: "cipher", Title: "SSH server and policy have no cipher in common"},
			{Name: "mac", Title: "SSH server and policy have no MAC in common"},
		},
	}
}

func cryptoError() fault.Entry {
	return fault.Entry{
		Code: CodeCryptoError, Legacy: []string{"CSCvs62849", "CSCvr51157", "CSCvt27613"}, Severity: fault.Critical,
		Title:  "SSH key exchange fails although algorithms were agreed",
		Impact: "No connection can be made; the lists look right, so it is easily taken for a network problem.",
		Cause:  "The server advertises an algorithm that it, or a library below it, cannot do right.",
		Raise:  "algorithms were agreed, then the key exchange, the signature or the library failed",
		Clear:  "a look completes the handshake",
		Remedy: []fault.Remedy{
			{Text: "Try each common key exchange by itself and see which one fails.", Impact: "one connection for each", Command: "allclear probe ssh {address} --policy {policy} --prove"},
			{Text: "Remove the failing algorithm ({kex}) from the server's list, or update its SSH software; look in the vendor's bug list.", Impact: "running sessions go on; new sessions use another algorithm"},
			verifySSH,
		},
		Variants: []fault.Variant{
			{Name: "bad-signature", Title: "SSH server's host key signature is wrong", Cause: "The server signs the key exchange with another key than it shows, or with a broken library. An attacker in between would look the same: do not go on until it is explained."},
			{Name: "dh-group", Title: "SSH server's Diffie-Hellman group is not acceptable", Cause: "The group is too small or malformed. Moduli must have at least 2048 bits and a multiple of 64.", Remedy: []fault.Remedy{
				{Text: "Remove groups below 3072 bits from the server's moduli file.", Impact: "new sessions use larger groups; old clients may fail", Command: "awk '$5 >= 3071' /etc/ssh/moduli > /etc/ssh/moduli.new"},
				verifySSH,
			}},
			{Name: "library", Title: "SSH key exchange dies in the server's library"},
			{Name: "fips", Title: "SSH server's FIPS mode refuses what it advertises", Cause: "The server runs in FIPS mode and its SSH lists name algorithms that FIPS mode forbids.", Remedy: []fault.Remedy{
				{Text: "Bring the server's algorithm lists in line with its FIPS mode. FIPS mode stays on: switching it off is no remedy.", Impact: "new sessions use the new lists"},
				verifySSH,
			}},
		},
	}
}

func nameNotResolved() fault.Entry {
	return fault.Entry{
		Code: CodeNameNotResolved, Severity: fault.Major,
		Title:  "Name of the SSH server does not resolve",
		Impact: "Jobs that use this server cannot find it.",
		Cause:  "The name is wrong, the resolver does not know it, or the resolver does not answer.",
		Raise:  "name resolution gives no address", Clear: "the name resolves",
		Remedy: []fault.Remedy{
			{Text: "Ask the resolver for {host}.", Impact: readsOnly, Command: "getent ahosts {host}"},
			{Text: "Mend the name in DNS or in the configuration, or use the address itself.", Impact: "the next look uses it"},
			verifySSH,
		},
		Variants: []fault.Variant{
			{Name: "NXDOMAIN", Title: "Name of the SSH server does not exist", Cause: "The resolver says that there is no such name, or none with an address: it is misspelt, or gone from its zone."},
			{Name: "SERVFAIL", Title: "Resolver cannot find the SSH server's name", Cause: "The resolver answers with an error: the zone's own servers fail, or DNSSEC does."},
			{Name: "timeout", Title: "No resolver answers for the SSH server's name", Cause: "The resolvers of this host are down, or a firewall is in between."},
		},
	}
}

func unreachable() fault.Entry {
	return fault.Entry{
		Code: CodeUnreachable, Severity: fault.Major,
		Title:  "SSH server cannot be reached",
		Impact: "Jobs that use this server cannot connect.",
		Cause:  "No TCP connection to {address}: the service is down, a firewall is in between, or the route is gone.",
		Raise:  "the TCP connection fails", Clear: "a TCP connection is made",
		Remedy: []fault.Remedy{
			{Text: "See that the service runs and listens on this port.", Impact: readsOnly, Command: "ss -ltn"},
			{Text: "Check firewalls and routes between the two.", Impact: readsOnly},
			verifySSH,
		},
		Variants: []fault.Variant{
			{Name: "refused", Title: "SSH server refuses the connection", Cause: "The machine answers but nothing listens on this port, or a firewall rejects it."},
			{Name: "timeout", Title: "SSH server does not answer", Cause: "Packets are lost without an answer: the machine is down, or a firewall drops them."},
			{Name: "no-route", Title: "No route to the SSH server", Cause: "This machine or a router has no way to the address."},
			{Name: "reset", Title: "SSH server resets the connection", Cause: "Something accepts and then resets: a firewall, or a service that refuses this client."},
		},
	}
}

func notSSH() fault.Entry {
	return fault.Entry{
		Code: CodeNotSSH, Severity: fault.Major,
		Title:  "What answers is not an SSH server",
		Impact: "Jobs that use this server cannot connect.",
		Cause:  "Another service, a proxy or a login banner answers on this port, or the server closes before it speaks.",
		Raise:  "connected, but no SSH version line and key exchange offer came", Clear: "the server's offer is read",
		Remedy: []fault.Remedy{
			{Text: "Check port and address; the first bytes received were: {first_bytes}", Impact: readsOnly, Command: "allclear probe ssh {address}"},
			verifySSH,
		},
		Variants: []fault.Variant{
			{Name: "banner", Title: "What answers does not speak SSH"},
			{Name: "silent", Title: "SSH server takes the connection and says nothing", Cause: "The service hangs or is overloaded, while its machine goes on accepting connections for it; or another service waits for its client to speak; or a firewall answers in its place."},
			{Name: "closed", Title: "SSH server closes before it speaks", Cause: "An access rule of the server (tcp wrappers, a match on the address) or a proxy closes the connection."},
			{Name: "rate-limited", Title: "SSH server limits our connections", Cause: "MaxStartups or PerSourcePenalties of the server is in force: somebody connects too often from this address.", Remedy: []fault.Remedy{
				{Text: "Find what else connects from this address, or exempt it: PerSourcePenaltyExemptList, MaxStartups.", Impact: "the server accepts more connections at once"},
				verifySSH,
			}},
		},
	}
}

func hostKeyUnknown() fault.Entry {
	return fault.Entry{
		Code: CodeHostKeyUnknown, Legacy: []string{"CSCwb91598"}, Severity: fault.Major,
		Title:  "Host key of the SSH server is not pinned",
		Impact: "Nobody can tell this server from an impostor; jobs refuse to send data to it.",
		Cause:  "No key of this server was confirmed yet.",
		Raise:  "the server proved a host key and none is pinned", Clear: "a pinned key matches",
		Remedy: []fault.Remedy{
			{Text: "Compare the fingerprint on the server's own console: {host_key}", Impact: readsOnly, Command: "for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $f; done"},
			{Text: "If it is the same, add it to host_keys of {resource} in the configuration and reload.", Impact: "from then on any other key is a critical fault"},
			verifySSH,
		},
	}
}

func hostKeyChanged() fault.Entry {
	return fault.Entry{
		Code: CodeHostKeyChanged, Legacy: []string{"ERR-DNLD-hostkey-mismatch"}, Severity: fault.Critical,
		Title:  "Host key of the SSH server has changed",
		Impact: "Either the server was reinstalled or somebody stands between: nothing is sent to it.",
		Cause:  "The server shows {host_key}; pinned is {expected}.",
		Raise:  "the server proved another key than the pinned one, of the pinned type", Clear: "the pinned key is back, or the operator has pinned the new one",
		Remedy: []fault.Remedy{
			{Text: "Ask the server's owner whether and when its keys were changed, by another way than this network.", Impact: readsOnly},
			{Text: "If it was, compare the new fingerprint on the server's console: {host_key}", Impact: readsOnly, Command: "for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $f; done"},
			{Text: "Only then replace the pin in host_keys of {resource} and reload.", Impact: "the old key is then refused"},
			verifySSH,
		},
	}
}

func authFailed() fault.Entry {
	return fault.Entry{
		Code: CodeAuthFailed, Legacy: []string{"ERR-DNLD-authentication-failure", "ERR-2fa-auth-retry"}, Severity: fault.Critical,
		Title:  "SSH server refuses the login",
		Impact: "Jobs that log in with this credential fail.",
		Cause:  "The server offered {methods_offered} and refused {methods_tried} for user {user}.",
		Raise:  "all methods were refused; after three refusals in a row only an operator's look tries again", Clear: "a login succeeds",
		Applies: "watched SSH servers with a login; without one nothing is ever authenticated",
		Remedy: []fault.Remedy{
			{Text: "Check on the server whether the account is locked or expired.", Impact: readsOnly, Command: "chage -l {user}"},
			verifySSH,
		},
		Variants: []fault.Variant{
			{Name: "password", Title: "SSH server refuses the password"},
			{Name: "publickey", Title: "SSH server refuses the key", Remedy: []fault.Remedy{
				{Text: "See that the public key stands in authorized_keys of {user}, and that the home directory, .ssh and the file are writable by their owner alone.", Impact: readsOnly},
				verifySSH,
			}},
			{Name: "expired", Title: "Password on the SSH server has expired", Remedy: []fault.Remedy{
				{Text: "Set a new password for {user} on the server and put it into the credential file.", Impact: "other users of the account need it too"},
				verifySSH,
			}},
			{Name: "mfa", Title: "SSH server wants a second factor", Remedy: []fault.Remedy{
				{Text: "Use an account for machines: a second factor cannot be typed by a job.", Impact: "needs an account of its own on the server"},
				verifySSH,
			}},
			{Name: "credential", Title: "Credential for the SSH server cannot be read", Cause: "The file, variable or credential named in login is missing, is readable by others, or does not hold what it should; no login was tried.", Remedy: []fault.Remedy{
				{Text: "See that the file named in login exists, holds a key without a passphrase or a password, and is readable by the agent alone.", Impact: readsOnly, Command: "allclear config check"},
				verifySSH,
			}},
		},
	}
}
