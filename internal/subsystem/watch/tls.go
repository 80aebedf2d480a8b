package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
)

// The codes of connectivity, in the order in which the ladder reaches them.
const (
	CodeDNS        fault.Code = netdiag.CodeDNS
	CodeTCP        fault.Code = netdiag.CodeTCP
	CodeProxy      fault.Code = netdiag.CodeProxy
	CodeTLS        fault.Code = netdiag.CodeTLS
	CodeClientCert fault.Code = netdiag.CodeClientCert
	CodeHTTP       fault.Code = netdiag.CodeHTTP
)

// defaultClimb is how long netdiag climbs when nobody says.
const defaultClimb = 5 * time.Second

func connectivityCodes() []fault.Code {
	return []fault.Code{CodeDNS, CodeTCP, CodeProxy, CodeTLS, CodeClientCert, CodeHTTP}
}

// stepsOf are the steps of the ladder that stand behind a code. A wrong clock
// is no matter of the endpoint and belongs to nobody here.
func stepsOf(code fault.Code) []netdiag.StepName {
	switch code {
	case CodeDNS:
		return []netdiag.StepName{netdiag.StepDNS}
	case CodeTCP:
		return []netdiag.StepName{netdiag.StepTCP}
	case CodeProxy:
		return []netdiag.StepName{netdiag.StepProxy}
	case CodeTLS:
		return []netdiag.StepName{netdiag.StepTransport, netdiag.StepNegotiate, netdiag.StepServerCert}
	case CodeClientCert:
		return []netdiag.StepName{netdiag.StepClientCert}
	case CodeHTTP:
		return []netdiag.StepName{netdiag.StepHTTP}
	}
	return nil
}

// tlsCheck climbs the ladder to one endpoint. One climb judges the endpoint and
// the certificate that it shows.
func tlsCheck(item TLS) check.Check {
	return check.Check{
		Name: "watch.tls", Resource: item.Name,
		Codes: append(connectivityCodes(), CodeCertExpiring, CodeCertExpired),
		// An expired certificate is why TLS fails: one cause, one fault to tell.
		Causes: []fault.Key{{Code: CodeCertExpired, Resource: item.Name + "/" + serverCertificate}},
		Every:  item.Every, Timeout: cmp.Or(item.Timeout, defaultClimb) + 2*time.Second, Version: item.Version,
		Run: func(ctx context.Context, r *check.Report) {
			target, err := item.Target()
			if err != nil {
				judgeUnread(r, item, err)
				return
			}
			rep := netdiag.Diagnose(ctx, target)
			if rep.Cause == netdiag.Cancelled {
				return // we could not look: say nothing of the endpoint
			}
			judgeServerCertificate(r.At(serverCertificate), rep, target.Plain)
			judgeLadder(r, item, rep)
		},
	}
}

// ErrOwnCertificate is in the error of a Target that could not read our own
// client certificate or its key.
var ErrOwnCertificate = errors.New("own client certificate")

// judgeUnread judges an endpoint whose settings could not be read, so that
// nothing was sent. Without our certificate the server would refuse us; of
// anything else, such as the roots, only this side knows, and the endpoint is
// not blamed.
func judgeUnread(r *check.Report, item TLS, err error) {
	if !errors.Is(err, ErrOwnCertificate) {
		for _, code := range connectivityCodes() {
			r.Unknown(code, netdiag.BadTarget.Text()+": "+err.Error())
		}
		return
	}
	r.Present(CodeClientCert, err, map[string]string{
		"qualifier": netdiag.OwnCertUnreadable.Qualifier(), "cause": string(netdiag.OwnCertUnreadable), "target": item.Address,
	})
	r.Advise(CodeClientCert, ladderSteps(item.Name, item.Address, netdiag.OwnCertUnreadable)...)
}

// judgeLadder turns the climb into verdicts: the code of the failing step is
// Present, the codes of the steps that were passed are Absent, those above it
// were not reached and stay Unknown.
func judgeLadder(r *check.Report, item TLS, rep *netdiag.Report) {
	failed := fault.Code(rep.Code())
	passed := passedSteps(rep)
	for _, code := range connectivityCodes() {
		if code == failed {
			r.Present(code, causeOf(rep), ladderSense(rep))
			r.Advise(code, ladderSteps(item.Name, item.Address, rep.Cause)...)
			break
		}
		judgePassed(r, code, passed)
	}
	if !slices.Contains(connectivityCodes(), failed) && !rep.OK && rep.Step != netdiag.StepClock {
		for _, code := range connectivityCodes() {
			r.Unknown(code, causeOf(rep).Error()) // our own side stood in the way
		}
	}
	if rep.OK || rep.Step == netdiag.StepClock {
		r.Proved("%s", proof(rep))
	}
}

// judgePassed judges a code whose steps did not fail.
func judgePassed(r *check.Report, code fault.Code, passed map[netdiag.StepName]netdiag.Step) {
	climbed, why := false, ""
	for _, name := range stepsOf(code) {
		step, reached := passed[name]
		if !reached {
			return
		}
		if step.Outcome == netdiag.NotTried {
			why = strings.TrimPrefix(step.Detail, "not needed: ")
		} else {
			climbed = true
		}
	}
	if climbed {
		r.Absent(code)
		return
	}
	r.NotApplicable(code, why)
}

// passedSteps are the steps that the ladder has left behind: those that went
// well, and those that it did not need.
func passedSteps(rep *netdiag.Report) map[netdiag.StepName]netdiag.Step {
	passed := map[netdiag.StepName]netdiag.Step{}
	for _, name := range netdiag.StepNames() {
		if !rep.OK && name == rep.Step {
			break
		}
		var best *netdiag.Step
		for i := range rep.Steps { // of several addresses, one that answers is enough
			if s := &rep.Steps[i]; s.Name == name && (best == nil || best.Outcome == netdiag.Failed) {
				best = s
			}
		}
		if best == nil || best.Outcome == netdiag.Failed {
			break
		}
		passed[name] = *best
	}
	return passed
}

// causeOf says in one line why the climb ended.
func causeOf(rep *netdiag.Report) error {
	if rep.Detail == "" {
		return fmt.Errorf("%s", rep.Cause.Text())
	}
	return fmt.Errorf("%s: %s", rep.Cause.Text(), rep.Detail)
}

// ladderSense is the evidence of the failing step. What each resolver said is
// one value: its own key would be a new one for every resolver.
func ladderSense(rep *netdiag.Report) map[string]string {
	sense := map[string]string{"duration_ms": strconv.FormatInt(rep.DurationMS, 10)}
	var resolvers []string
	for k, v := range rep.Sense() {
		if server, ok := strings.CutPrefix(k, "resolver "); ok {
			resolvers = append(resolvers, server+": "+v)
			continue
		}
		sense[k] = v
	}
	if len(resolvers) > 0 {
		slices.Sort(resolvers)
		sense["resolvers"] = strings.Join(resolvers, "; ")
	}
	sense["target"] = rep.Target
	return sense
}

// ladderSteps are the steps that mend a cause, with the endpoint's own names in
// them and the look that clears the fault as the last.
func ladderSteps(name, address string, cause netdiag.Cause) []fault.Remedy {
	steps := remedies(cause.Remedies(), func(s netdiag.Remedy) fault.Remedy {
		command := strings.ReplaceAll(s.Command, "HOST:443", address)
		if command == "allclear verify" {
			command += " " + name
		}
		return fault.Remedy{Text: s.Text, Impact: s.Impact, Command: command}
	})
	last := verifyTLS
	last.Command = "allclear verify " + name
	return append(steps, last)
}

// proof is what a climb to the top has shown, with what it noticed on the way.
func proof(rep *netdiag.Report) string {
	text := "reached " + rep.Address
	if rep.TLS != nil {
		text += ", TLS " + rep.TLS.Version + " with a certificate for " + rep.ServerName
		if len(rep.TLS.Peers) > 0 {
			text += " until " + rep.TLS.Peers[0].NotAfter.UTC().Format(time.DateOnly)
		}
		if rep.TLS.ClientCertSent {
			text += ", client certificate accepted (" + rep.TLS.Acceptance + ")"
		}
	}
	if rep.HTTP != nil {
		text += fmt.Sprintf(", answer %d", rep.HTTP.Status)
	}
	for _, w := range rep.Warnings {
		text += "; noticed: " + w.Cause.Text()
	}
	return text
}
