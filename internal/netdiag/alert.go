package netdiag

import "fmt"

// TLS alerts that name a cause (RFC 8446 section 6; no_certificate is of SSL 3.0
// and still seen).
const (
	alertHandshakeFailure     = 40
	alertNoCertificate        = 41
	alertBadCertificate       = 42
	alertUnsupportedCert      = 43
	alertCertificateRevoked   = 44
	alertCertificateExpired   = 45
	alertCertificateUnknown   = 46
	alertUnknownCA            = 48
	alertAccessDenied         = 49
	alertProtocolVersion      = 70
	alertInsufficientSecurity = 71
	alertUnrecognizedName     = 112
	alertCertificateRequired  = 116
	alertNoApplication        = 120
)

// alertText is the alert's name in the standard, with its number.
func alertText(n int) string {
	name := map[int]string{
		0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
		alertHandshakeFailure: "handshake_failure", alertNoCertificate: "no_certificate",
		alertBadCertificate: "bad_certificate", alertUnsupportedCert: "unsupported_certificate",
		alertCertificateRevoked: "certificate_revoked", alertCertificateExpired: "certificate_expired",
		alertCertificateUnknown: "certificate_unknown", 47: "illegal_parameter", alertUnknownCA: "unknown_ca",
		alertAccessDenied: "access_denied", 50: "decode_error", 51: "decrypt_error",
		alertProtocolVersion: "protocol_version", alertInsufficientSecurity: "insufficient_security",
		80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation",
		109: "missing_extension", 110: "unsupported_extension", alertUnrecognizedName: "unrecognized_name",
		113: "bad_certificate_status_response", 115: "unknown_psk_identity",
		alertCertificateRequired: "certificate_required", alertNoApplication: "no_application_protocol",
	}[n]
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("%s (%d)", name, n)
}

// negotiationCause names an alert that came before certificates were talked of.
func negotiationCause(alert int) Cause {
	switch alert {
	case alertProtocolVersion:
		return TLSVersion
	case alertHandshakeFailure, alertInsufficientSecurity:
		return TLSCipher
	case alertUnrecognizedName:
		return TLSName
	case alertNoApplication:
		return TLSALPN
	}
	return TLSAlert
}
