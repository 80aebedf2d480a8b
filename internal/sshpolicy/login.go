package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Secret is a string that never prints itself.
type Secret string

const hidden = "[secret]"

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Login is a credential to try. Without a key and a password only the server's
// list of methods is learned.
type Login struct {
	User     string
	Key      ssh.Signer // nil: none
	Password Secret     // "": none
}

// ParseKey reads a private key in OpenSSH or PEM form. passphrase is nil for a
// key that has none.
func ParseKey(data []byte, passphrase []byte) (ssh.Signer, error) {
	if len(passphrase) > 0 {
		key, err := ssh.ParsePrivateKeyWithPassphrase(data, passphrase)
		if err != nil {
			return nil, fmt.Errorf("read private key: %w", err)
		}
		return key, nil
	}
	key, err := ssh.ParsePrivateKey(data)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		return nil, errors.New("private key has a passphrase; the agent cannot ask for it")
	}
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	return key, nil
}

// loginTry is one login and what was learned from it.
type loginTry struct {
	with    Login
	outcome AuthOutcome
	partial []string // methods that were accepted, with more wanted
	expired bool     // the server asks for a new password
	factor  bool     // the server asks for something that we do not have
}

// errNoAnswer ends a dialogue that the password does not answer.
var errNoAnswer = errors.New("the server asks for more than a password")

func newLogin(with Login) *loginTry {
	return &loginTry{with: with, outcome: AuthOutcome{User: with.User, Offered: []string{}, Tried: []string{}}}
}

func (l *loginTry) configure(c *ssh.ClientConfig) {
	c.User = l.with.User
	c.AuthCallback = l.next
	c.BannerCallback = func(message string) error { l.say(message); return nil }
}

// say keeps the server's words, bounded and printable.
func (l *loginTry) say(message string) {
	words := printable(strings.Join(strings.Fields(message), " "), 512)
	if words != "" && !strings.Contains(l.outcome.Message, words) && len(l.outcome.Message) < 2048 {
		l.outcome.Message = strings.TrimSpace(l.outcome.Message + " " + words)
	}
}

// next picks the method to try: key, password, then the password by way of
// keyboard-interactive, each once.
func (l *loginTry) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.outcome.Offered = orEmpty(c.AllowedMethods)
	l.partial = c.PartialSuccessMethods
	can := func(method string) bool {
		return slices.Contains(c.AllowedMethods, method) && !slices.Contains(l.outcome.Tried, method)
	}
	switch {
	case l.expired:
	case l.with.Key != nil && can("publickey"):
		l.try("publickey")
		return ssh.PublicKeys(l.with.Key), nil
	case l.with.Password != "" && can("password"):
		l.try("password")
		return ssh.Password(string(l.with.Password)), nil
	case l.with.Password != "" && can("keyboard-interactive"):
		l.try("keyboard-interactive")
		return ssh.KeyboardInteractive(l.answer), nil
	}
	return nil, nil // nothing is left; the library then reports the last error
}

func (l *loginTry) try(method string) {
	l.outcome.Tried = append(l.outcome.Tried, method)
	l.outcome.Method = method
}

// answer gives the password to the one hidden question about it. Any other
// question is another factor, or the wish for a new password.
func (l *loginTry) answer(name, instruction string, questions []string, echos []bool) ([]string, error) {
	l.say(name)
	l.say(instruction)
	answers := make([]string, len(questions))
	for i, q := range questions {
		l.say(q)
		switch {
		case wantsNewPassword(name+" "+instruction) || wantsNewPassword(q):
			l.expired = true
			return nil, errNoAnswer
		case !echos[i] && strings.Contains(strings.ToLower(q), "password") && len(questions) == 1:
			answers[i] = string(l.with.Password)
		default:
			l.factor = true
			return nil, errNoAnswer
		}
	}
	return answers, nil
}

// wantsNewPassword recognises the words of PAM and shadow; they are the only
// sign that the server gives.
func wantsNewPassword(words string) bool {
	words = strings.ToLower(words)
	for _, s := range []string{"expired", "change your password", "password change required", "new password", "current password"} {
		if strings.Contains(words, s) {
			return true
		}
	}
	return false
}

// failed says why a login did not succeed.
func (l *loginTry) failed(parent context.Context, s *exchange, err error) error {
	l.outcome.Method = ""
	if isTimeout(err) || parent.Err() != nil || len(l.outcome.Offered) == 0 {
		return connError(parent, "login", s.addr, s.began, err)
	}
	e := &AuthError{Kind: AuthPassword, Outcome: l.outcome, Err: rootCause(err)}
	switch {
	case l.expired || err != nil && rootCause(err).Error() == passwordChangeAsked:
		e.Kind = AuthExpired
	case l.factor || len(l.partial) > 0:
		e.Kind = AuthMFA
	case l.with.Password == "" && l.with.Key != nil, !slices.Contains(l.outcome.Tried, "password") && !slices.Contains(l.outcome.Tried, "keyboard-interactive"):
		e.Kind = AuthPublicKey
	}
	return e
}

// passwordChangeAsked is what the library says when the server answers a
// password with SSH_MSG_USERAUTH_PASSWD_CHANGEREQ (60, RFC 4252 section 8): it
// has no type for it, only this text (unexpectedMessageError in its common.go).
const passwordChangeAsked = "ssh: unexpected message type 60 (expected 52)"
