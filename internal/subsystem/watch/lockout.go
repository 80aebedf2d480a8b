package watch

import (
	"fmt"
	"hash/maphash"
	"maps"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// maxFailures is how many refused logins in a row timers may cause. Servers lock
// accounts; after this only an operator's look, or one at a changed
// configuration or credential, tries again.
const maxFailures = 3

// lockout counts refused logins of one server, whoever tried them. It lives as
// long as the process.
type lockout struct {
	seed maphash.Seed

	mu       sync.Mutex // guards the fields below
	failures int
	refused  uint64 // digest of the credential that was refused last
}

// lock returns the count of a server.
func (w *Watch) lock(name string) *lockout {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.locks[name] == nil {
		w.locks[name] = &lockout{seed: maphash.MakeSeed()}
	}
	return w.locks[name]
}

// mayTry claims that a look with this trigger may authenticate with login.
func (l *lockout) mayTry(t fault.Trigger, login sshpolicy.Login) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures < maxFailures || t == fault.TriggerOperator || t == fault.TriggerChanged {
		return true
	}
	return l.digest(login) != l.refused
}

// refuse counts a refusal and returns how many there were in a row.
func (l *lockout) refuse(login sshpolicy.Login) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.digest(login)
	if d != l.refused {
		l.failures, l.refused = 0, d
	}
	l.failures++
	return l.failures
}

func (l *lockout) accept() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures, l.refused = 0, 0
}

func (l *lockout) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

// digest tells credentials apart within this process, and tells nothing else of
// them: its seed is random and never leaves the process.
func (l *lockout) digest(login sshpolicy.Login) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	parts := []string{login.User, string(login.Password), ""}
	if login.Key != nil {
		parts[2] = ssh.FingerprintSHA256(login.Key.PublicKey())
	}
	for _, p := range parts {
		maphash.WriteComparable(&h, p)
	}
	return h.Sum64()
}

// attempt is what became of the credential in one look.
type attempt struct {
	lock  *lockout
	login sshpolicy.Login
	held  bool  // not shown: refused too often
	err   error // why it could not be read
}

// credential reads the item's login and decides whether this look may show it;
// nil without a login.
func (l *sshLook) credential(t fault.Trigger) *attempt {
	if l.item.Login == nil {
		return nil
	}
	a := &attempt{lock: l.w.lock(l.item.Name)}
	if a.login, a.err = l.item.Login(); a.err == nil {
		a.held = !a.lock.mayTry(t, a.login)
	}
	return a
}

// judgeLogin judges ssh/auth-failed. A login that is held back stays as the look
// before left it: not trying proves nothing.
func (l *sshLook) judgeLogin(r *check.Report, result *sshpolicy.Result, a *attempt, sense map[string]string) {
	switch {
	case a.err != nil:
		sense = maps.Clone(sense)
		sense["qualifier"] = "credential"
		r.Present(CodeAuthFailed, fmt.Errorf("credential not readable: %w", a.err), sense)
	case a.held:
		r.Unknown(CodeAuthFailed, fmt.Sprintf("held back after %d refused logins, lest the account be locked; `allclear verify %s` tries again", a.lock.count(), l.item.Name))
	case result.Code == string(CodeAuthFailed):
		sense = maps.Clone(sense)
		sense["failures"] = strconv.Itoa(a.lock.refuse(a.login))
		r.Present(CodeAuthFailed, result.Err, sense)
		r.Advise(CodeAuthFailed, l.remedies(result)...)
	case result.Auth != nil && result.Auth.OK:
		a.lock.accept()
		r.Absent(CodeAuthFailed)
	}
}
