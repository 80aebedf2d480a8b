package watch

import (
	"fmt"
	"maps"
	"strconv"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// attempt is what became of the credential in one look.
type attempt struct {
	guard *sshpolicy.Guard
	login sshpolicy.Login
	held  bool  // not shown: refused too often
	told  bool  // shown by somebody else, who has counted it
	err   error // why it could not be read
}

// credential reads the item's login and decides whether this look may show it;
// nil without a login.
func (l *sshLook) credential(t fault.Trigger) *attempt {
	if l.item.Login == nil {
		return nil
	}
	a := &attempt{guard: l.w.guards().At(l.item.Name)}
	if a.login, a.err = l.item.Login(); a.err == nil && t != fault.TriggerOperator && t != fault.TriggerChanged {
		a.held = a.guard.Held(a.login)
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
		r.Unknown(CodeAuthFailed, fmt.Sprintf("held back after %d refused logins, lest the account be locked; `allclear verify %s` tries again", a.guard.Refusals(), l.item.Name))
	case result.Code == string(CodeAuthFailed):
		sense = maps.Clone(sense)
		if !a.told {
			a.guard.Refuse(a.login)
		}
		sense["failures"] = strconv.Itoa(a.guard.Refusals())
		r.Present(CodeAuthFailed, result.Err, sense)
		r.Advise(CodeAuthFailed, l.remedies(result)...)
	case result.Auth != nil && result.Auth.OK:
		if !a.told {
			a.guard.Accept()
		}
		r.Absent(CodeAuthFailed)
	}
}
