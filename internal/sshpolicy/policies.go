package sshpolicy

// PolicyUCSM is the seed's policy: what a Cisco UCS domain allows from firmware
// 4.0(2a) on (seed 000, R0-6 to R0-8).
const PolicyUCSM = "ucsm-4.0-2a"

// Builtins returns the built-in policies. Each call returns fresh lists.
func Builtins() []Policy {
	return []Policy{ucsm(), fips1403(), openssh9(), modern()}
}

func ucsm() Policy {
	return Policy{
		Name: PolicyUCSM,
		Why: "What a Cisco UCS fabric interconnect accepts from a backup server since firmware 4.0(2a): " +
			"exactly the three key exchanges, three ciphers and two MACs of the vendor's release notes. " +
			"The notes name no host key algorithm; everything but SHA-1 signatures (ssh-rsa, ssh-dss) is allowed.",
		KEX: []string{
			"diffie-hellman-group-exchange-sha256",
			"diffie-hellman-group16-sha512",
			"diffie-hellman-group18-sha512",
		},
		HostKeys: plainAndCertificateHostKeys(),
		Ciphers:  []string{"aes128-ctr", "aes192-ctr", "aes256-ctr"},
		MACs:     []string{"hmac-sha2-256", "hmac-sha2-512"},
	}
}

func fips1403() Policy {
	return Policy{
		Name: "fips-140-3",
		Why: "Algorithms with approved primitives only: NIST curves and the safe-prime groups of SP 800-56A rev. 3 " +
			"(group exchange is left out: the server chooses the group), AES in CTR and GCM mode (SP 800-38A, -38D), " +
			"HMAC with SHA-2 (FIPS 198-1), signatures of FIPS 186-5. Using approved names does not make a module validated.",
		KEX: []string{
			"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
			"diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256",
		},
		HostKeys: plainAndCertificateHostKeys(),
		Ciphers: []string{
			"aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr",
		},
		MACs: []string{
			"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512",
		},
	}
}

func openssh9() Policy {
	return Policy{
		Name: "openssh-9",
		Why: "What an unconfigured OpenSSH 9.9 client accepts: the lists of its release, without security keys, which no server presents. " +
			"A server that fails this refuses most of today's clients.",
		KEX: []string{
			"sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com", "mlkem768x25519-sha256",
			"curve25519-sha256", "curve25519-sha256@libssh.org",
			"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
			"diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512",
			"diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256",
		},
		HostKeys: plainAndCertificateHostKeys(),
		Ciphers: []string{
			"chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr",
			"aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
		},
		MACs: []string{
			"umac-64-etm@openssh.com", "umac-128-etm@openssh.com",
			"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha1-etm@openssh.com",
			"umac-64@openssh.com", "umac-128@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1",
		},
	}
}

func modern() Policy {
	return Policy{
		Name: "modern",
		Why: "What a new installation should need and no more: post-quantum hybrids and Curve25519, authenticated ciphers first, " +
			"AES-CTR only with encrypt-then-MAC, no SHA-1, no NIST curve in the key exchange, no finite-field Diffie-Hellman.",
		KEX: []string{
			"mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com",
			"curve25519-sha256", "curve25519-sha256@libssh.org",
		},
		HostKeys: plainAndCertificateHostKeys(),
		Ciphers: []string{
			"chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
			"aes256-ctr", "aes192-ctr", "aes128-ctr",
		},
		MACs: []string{"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"},
	}
}

// plainAndCertificateHostKeys is every host key algorithm in use that does not
// sign with SHA-1. Plain keys come first: pins are plain keys, and a certificate
// would only hide which key the server has.
func plainAndCertificateHostKeys() []string {
	return []string{
		"ssh-ed25519",
		"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
		"rsa-sha2-512", "rsa-sha2-256",
		"ssh-ed25519-cert-v01@openssh.com",
		"ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp384-cert-v01@openssh.com", "ecdsa-sha2-nistp521-cert-v01@openssh.com",
		"rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com",
	}
}
