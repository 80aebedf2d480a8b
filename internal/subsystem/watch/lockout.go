package watch

import (
	"fmt"
	"strconv"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// maxFailures is how many refused logins in a row are tried by timers. Servers
// lock accounts; after this only an operator's look tries again.
const maxFailures = 3

// lockout counts refused logins of one server, whoever tried them.
type lockout struct {
	failures   int
	unreadable error // why the credential could not be read
}

// lock returns the count of a server.
func (w *Watch) lock(name string) *lockout {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.locks[name] == nil {
		w.locks[name] = &lockout{}
	}
	return w.locks[name]
}

// mayTry claims that a look with this trigger may authenticate. A changed
// configuration or credential is a new chance, as is an operator's wish.
func (l *lockout) mayTry(t fault.Trigger) bool {
	switch t {
	case fault.TriggerOperator, fault.TriggerChanged, fault.TriggerCreated, fault.TriggerStartup:
		return true
	}
	return l.failures < maxFailures
}

// judgeLogin judges ssh/auth-failed. A login that is held back stays failed for
// the reason it had: not trying proves nothing.
func (l *sshLook) judgeLogin(r *check.Report, result *sshpolicy.Result, lock *lockout, sense map[string]string) {
	switch {
	case lock.unreadable != nil:
		sense["qualifier"] = "credential"
		r.Present(CodeAuthFailed, fmt.Errorf("credential not readable: %w", lock.unreadable), sense)
	case result.Code == string(CodeAuthFailed):
		lock.failures++
		sense["failures"] = strconv.Itoa(lock.failures)
		r.Present(CodeAuthFailed, result.Err, sense)
		r.Advise(CodeAuthFailed, remedies(result.Remedy, sshRemedy)...)
	case result.Auth != nil && result.Auth.OK:
		lock.failures = 0
		r.Absent(CodeAuthFailed)
	case result.Handshake != nil && result.Handshake.Done && lock.failures >= maxFailures:
		r.Unknown(CodeAuthFailed, fmt.Sprintf("held back after %d refused logins, lest the account be locked; `allclear verify %s` tries again", lock.failures, l.item.Name))
	}
}
