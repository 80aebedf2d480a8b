package watch

import "allclear/internal/fault"

var (
	certFacts    = []string{"path", "file", "address", "subject", "issuer", "serial", "not_before", "not_after", "status"}
	certReadings = []string{"days_left", "life_left"}
	verifyCert   = fault.Remedy{Text: "Look again.", Impact: "reads the file", Command: "allclear verify {resource}"}
	replaceCert  = fault.Remedy{Text: "Put the new certificate, its chain and its key in place and reload the program that uses them.", Impact: "new connections present the new certificate"}
)

func certificateFaults() []fault.Entry {
	return []fault.Entry{
		{
			Code: CodeCertExpiring, Severity: fault.Warning, Severities: "major below the item's major time (7 days unless set); of a certificate that an endpoint shows, below 7 days or a tenth of a shorter life",
			Title:  "Certificate expires soon",
			Impact: "Nothing yet; when it expires, clients and servers refuse it.",
			Cause:  "Automatic renewal should have happened by now: it has failed, or there is none. Valid until {not_after}.",
			Raise:  "less time is left than the item's warning (30 days unless set); of a certificate that an endpoint shows, less than 30 days or a third of a shorter life", Clear: "a certificate with more time left is in place",
			Remedy: []fault.Remedy{
				{Text: "Find out why it was not renewed: the log of whatever renews the certificate of {resource}.", Impact: readsOnly},
				replaceCert, verifyCert,
			},
			Facts: certFacts, Readings: certReadings, Applies: "every watched certificate file, and the certificate that a watched TLS endpoint shows",
		},
		{
			Code: CodeCertExpired, Severity: fault.Critical,
			Title:  "Certificate has expired",
			Impact: "Whoever checks it refuses it: connections that need it fail.",
			Cause:  "It was valid until {not_after} and was not replaced.",
			Raise:  "its Not After is past", Clear: "a valid certificate is in place",
			Remedy: []fault.Remedy{replaceCert, verifyCert},
			Facts:  certFacts, Readings: certReadings, Applies: "every watched certificate file, and the certificate that a watched TLS endpoint shows",
		},
		{
			Code: CodeCertInvalid, Severity: fault.Critical,
			Severities: "warning for the order of the chain, and where only allclear may not read a file",
			Title:      "Certificate is not usable",
			Impact:     "A program that loads it fails, or its peers refuse it.",
			Cause:      "The file does not hold a certificate that fits its key, its names and its chain.",
			Raise:      "the file cannot be read, or the certificate fails a check", Clear: "all checks pass",
			Remedy: []fault.Remedy{
				{Text: "Read what is in the file.", Impact: readsOnly, Command: "openssl x509 -in {path} -noout -text"},
				replaceCert, verifyCert,
			},
			Variants: []fault.Variant{
				{Name: "unreadable", Title: "Certificate cannot be read", Cause: "The file is not there, is not PEM, or allclear may not read it."},
				{Name: "empty", Title: "Certificate file holds no certificate", Cause: "It was emptied by a full disk or a failed renewal, or it holds the key only."},
				{Name: "key-mismatch", Title: "Certificate and key do not belong together", Cause: "One of the two files was replaced without the other."},
				{Name: "key-unreadable", Title: "Key of the certificate cannot be read", Cause: "The key file is not there, is no PEM key without a passphrase, or allclear may not read it."},
				{Name: "chain-too-long", Title: "Certificate chain is too long", Cause: "The file holds more certificates than clients take: often a whole bundle instead of a chain."},
				{Name: "chain-order", Title: "Certificate chain is in the wrong order", Cause: "The file must hold the leaf first, then each issuer."},
				{Name: "untrusted", Title: "Certificate is not trusted", Cause: "Its chain does not end in an authority of the given bundle: an intermediate is missing, or it is from another authority."},
				{Name: "self-signed", Title: "Certificate is signed by itself", Cause: "No authority stands behind it, and it is not in the given bundle: a placeholder that was never replaced."},
				{Name: "not-yet-valid", Title: "Certificate is not valid yet", Cause: "Its Not Before is in the future: the clock is wrong, or it was put in place too early."},
				{Name: "eku", Title: "Certificate is not made for servers", Cause: "Its extended key usage lacks serverAuth: it was issued for clients."},
				{Name: "san", Title: "Certificate does not name the host", Cause: "None of its names covers what clients ask for."},
			},
			Facts: certFacts, Readings: certReadings, Applies: "every watched certificate file",
		},
	}
}
