package sshpolicy

import (
	"fmt"
	"net"
)

// The remedies of everything but a negotiation failure. "Disable FIPS" is none
// of them: a workaround that weakens the cryptography is not ours to give.

func connRemedies(e *ConnError, addr string) []Remedy {
	name := host(addr)
	_, port, _ := net.SplitHostPort(addr)
	switch e.Kind {
	case ConnNameNotResolved:
		return []Remedy{
			{Text: fmt.Sprintf("Ask this host's resolver for %s; correct the name, the resolver or its zone.", name), Impact: impactNone, Command: "getent ahosts " + name},
			{Text: "Until the name resolves, the target may be given by its address.", Impact: "an address does not follow the server when it moves"},
		}
	case ConnRefused:
		return []Remedy{
			{Text: fmt.Sprintf("The host answers, nothing listens on port %s: start the SSH service there, or correct the port.", port), Impact: "starting a service opens a port"},
			{Text: "At the server, see what listens.", Impact: impactNone, Command: "ss -ltnp"},
		}
	case ConnNoRoute:
		return []Remedy{{Text: "Look at the route and at the packet filters of this host.", Impact: impactNone, Command: "ip route get " + name}}
	case ConnReset:
		return []Remedy{{Text: "Something on the way resets the connection: a firewall, a proxy or the service itself. Compare with a look from another host.", Impact: impactNone}}
	case ConnLocal:
		return []Remedy{{Text: "This host could not look: see the text above for what it lacks.", Impact: impactNone}}
	}
	if e.Step == "connect" {
		return []Remedy{
			{Text: fmt.Sprintf("No answer at all: the host is down, or a firewall drops packets to port %s. Let this host through.", port), Impact: "a firewall rule opens a path"},
			{Text: "See where the path ends.", Impact: impactNone, Command: fmt.Sprintf("traceroute -T -p %s %s", port, name)},
		}
	}
	return []Remedy{{
		Text:    fmt.Sprintf("The server spoke and then fell silent at: %s. It is overloaded, or a path that drops large packets swallows the rest (path MTU).", e.Step),
		Impact:  impactNone,
		Command: "ping -M do -s 1472 " + name,
	}}
}

func notSSHRemedies(e *NotSSHError, addr string) []Remedy {
	switch e.Kind {
	case NotSSHRateLimited:
		return []Remedy{
			{Text: "The server turns this address away for a while (MaxStartups or PerSourcePenalties). Wait, and look less often.", Impact: "none: penalties end by themselves, usually within minutes"},
			{
				Text:   "At an OpenSSH server of 9.8 or later, exempt this host: PerSourcePenaltyExemptList with its address; or raise MaxStartups.",
				Impact: "the exempt address can guess passwords without being slowed down",
			},
		}
	case NotSSHSilent:
		return []Remedy{
			{Text: fmt.Sprintf("Something at %s takes connections and says nothing, where an SSH server speaks first. The service hangs or is overloaded: see its process and its log, and restart it.", addr), Impact: "a restart of the SSH service leaves running sessions alone", Command: "journalctl -u ssh -u sshd --since -1h"},
			{Text: "If it never was an SSH server: a service that waits for its client to speak, such as HTTPS, is as silent. Correct the port.", Impact: impactNone},
		}
	case NotSSHClosed:
		return []Remedy{
			{Text: "The connection ends before the server speaks: see its log for MaxStartups, a full process table, tcp-wrappers (hosts.deny) or a missing host key; a firewall or proxy in between may do the same.", Impact: impactNone, Command: "journalctl -u ssh -u sshd --since -1h"},
		}
	}
	text := fmt.Sprintf("What answers at %s is not an SSH server", addr)
	if e.Guess != "" {
		text += ", it looks like " + e.Guess
	}
	return []Remedy{{Text: text + ": correct the port, or the proxy or load balancer in between.", Impact: impactNone}}
}

func cryptoRemedies(e *CryptoError, addr, policy string) []Remedy {
	see := Remedy{
		Text: "Try every other key exchange that both sides have, one connection each, to see which ones work.", Impact: "one connection per algorithm; servers with penalties may turn this host away for minutes",
		Command: fmt.Sprintf("allclear probe ssh %s --policy %s --prove", addr, policy),
	}
	switch e.Kind {
	case CryptoBadSignature:
		return []Remedy{
			{Text: "The server's signature does not fit its host key: somebody may be in between, or its SSH software is broken. Compare the key at the server's console before anything else.", Impact: impactNone, Command: "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"},
			see,
		}
	case CryptoDHGroup:
		return []Remedy{
			{
				Text:   "The server's Diffie-Hellman group is unusable. Keep only moduli of 3072 bits and more (a multiple of 64) in /etc/ssh/moduli.",
				Impact: "clients that ask for small groups only are refused", Command: "awk '$5 >= 3071' /etc/ssh/moduli > /etc/ssh/moduli.new && mv /etc/ssh/moduli.new /etc/ssh/moduli",
			},
			see,
		}
	case CryptoFIPS:
		return []Remedy{
			{Text: "This process runs in FIPS 140 mode and refuses what was negotiated. Give the target a policy of approved algorithms (fips-140-3) and the server at least one of them.", Impact: "the target must offer approved algorithms"},
			see,
		}
	}
	return []Remedy{
		{Text: fmt.Sprintf("%s was agreed and then failed inside a library: see the server's log, update its SSH and crypto libraries, and search its vendor's bug list.", e.Negotiated.KEX), Impact: "an update restarts the SSH service"},
		see,
	}
}

func hostKeyRemedies(e *HostKeyError) []Remedy {
	compare := Remedy{
		Text:    fmt.Sprintf("At the server's console, not over this network, print its key and compare it with %s.", e.Key.Fingerprint),
		Impact:  impactNone,
		Command: "ssh-keygen -lf /etc/ssh/ssh_host_" + keyFile(e.Key.Type) + "_key.pub",
	}
	pin := Remedy{
		Text:   fmt.Sprintf("If they are the same, pin it: add this line to host_keys of the item. %q", e.Key.Type+" "+e.Key.Fingerprint),
		Line:   fmt.Sprintf("host_keys: [%q]", e.Key.Type+" "+e.Key.Fingerprint),
		Impact: "whoever holds this key is taken for the server",
	}
	if e.Kind == string(PinUnknown) {
		return []Remedy{compare, pin}
	}
	return []Remedy{
		{Text: "Ask the owner whether the server was reinstalled or its keys were changed. If nobody knows of it, treat the connection as intercepted and send no credentials.", Impact: impactNone},
		compare, pin,
	}
}

// keyFile is the middle of the name under which OpenSSH keeps a key.
func keyFile(keyType string) string {
	switch keyType {
	case "ssh-ed25519":
		return "ed25519"
	case "ssh-rsa":
		return "rsa"
	case "ssh-dss":
		return "dsa"
	}
	return "ecdsa"
}

func authRemedies(e *AuthError) []Remedy {
	user := e.Outcome.User
	switch e.Kind {
	case AuthExpired:
		return []Remedy{{Text: fmt.Sprintf("The password of %s has expired: set a new one at the server and in the secret that the item names.", user), Impact: "other programs that use this password must get the new one"}}
	case AuthMFA:
		return []Remedy{{Text: fmt.Sprintf("The server wants a further factor from %s. Give the account a key for which one factor is enough (AuthenticationMethods publickey in a Match block).", user), Impact: "the account is then protected by the key alone; restrict the key"}}
	case AuthPublicKey:
		return []Remedy{
			{Text: fmt.Sprintf("Put the public key into ~%s/.ssh/authorized_keys; the file and the directories above it must not be writable by others.", user), Impact: "whoever holds the key can log in"},
			{Text: "At the server, read why it refused.", Impact: impactNone, Command: "journalctl -u ssh -u sshd --since -1h"},
		}
	}
	return []Remedy{
		{Text: fmt.Sprintf("Set the password of %s anew, at the server and in the secret that the item names; look for a locked or expired account.", user), Impact: "other programs that use this password must get the new one"},
		{Text: "At the server, read why it refused.", Impact: impactNone, Command: "journalctl -u ssh -u sshd --since -1h"},
	}
}
