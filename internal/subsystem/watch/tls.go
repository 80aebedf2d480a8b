package watch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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

func connectivityCodes() []fault.Code {
	return []fault.Code{CodeDNS, CodeTCP, CodeProxy, CodeTLS, CodeClientCert, CodeHTTP}
}

// tlsCheck climbs the ladder to one endpoint.
func tlsCheck(item TLS) check.Check {
	return check.Check{
		Name: "watch.tls", Resource: item.Name, Codes: connectivityCodes(),
		Every: item.Every, Timeout: item.Timeout + 2*time.Second, Version: item.Version,
		Run: func(ctx context.Context, r *check.Report) {
			target, err := item.Target()
			if err != nil {
				// Our own credential cannot be read: the endpoint was not looked at, and a
				// server would refuse us.
				r.Present(CodeClientCert, fmt.Errorf("own credential: %w", err), map[string]string{
					"qualifier": "unreadable", "cause": string(netdiag.OwnCertUnreadable), "address": item.Address,
				})
				return
			}
			judgeLadder(r, netdiag.Diagnose(ctx, target))
		},
	}
}

// judgeLadder turns the climb into verdicts: the code of the failing step is
// Present, the codes of the steps that were passed are Absent, those above it
// were not reached.
func judgeLadder(r *check.Report, rep *netdiag.Report) {
	if rep.Cause == netdiag.Cancelled {
		return
	}
	failed := fault.Code(rep.Code())
	for _, code := range connectivityCodes() {
		if code == failed {
			r.Present(code, errors.New(rep.Cause.Text()), ladderSense(rep))
			r.Advise(code, remedies(rep.Remedies(), ladderRemedy)...)
			break
		}
		if passed, needed := reached(rep, code); passed {
			r.Absent(code)
		} else if !needed {
			r.NotApplicable(code, notNeeded(code))
		}
	}
	if rep.OK || rep.Step == netdiag.StepClock {
		r.Proved("%s", proof(rep))
	}
}

// reached tells of the steps behind a code whether the ladder passed them, and
// whether they are part of this ladder at all.
func reached(rep *netdiag.Report, code fault.Code) (passed, needed bool) {
	steps := map[fault.Code][]netdiag.StepName{
		CodeDNS: {netdiag.StepDNS}, CodeTCP: {netdiag.StepTCP}, CodeProxy: {netdiag.StepProxy},
		CodeTLS:        {netdiag.StepTransport, netdiag.StepNegotiate, netdiag.StepServerCert},
		CodeClientCert: {netdiag.StepClientCert}, CodeHTTP: {netdiag.StepHTTP},
	}[code]
	well := map[netdiag.StepName]bool{}
	for _, s := range rep.Steps {
		if s.Outcome == netdiag.OK || s.Outcome == netdiag.Warning {
			well[s.Name] = true
		}
	}
	for _, s := range steps {
		if !well[s] {
			return false, !rep.OK && rep.Step != netdiag.StepClock
		}
	}
	return true, true
}

func notNeeded(code fault.Code) string {
	switch code {
	case CodeDNS:
		return "the address is not a name, or the proxy resolves it"
	case CodeProxy:
		return "no proxy is configured"
	case CodeTLS:
		return "the endpoint is watched without TLS"
	case CodeClientCert:
		return "no client certificate is configured"
	case CodeHTTP:
		return "no HTTP request is configured"
	}
	return "not part of this look"
}

func ladderSense(rep *netdiag.Report) map[string]string {
	sense := rep.Sense()
	sense["target"] = rep.Target
	sense["duration_ms"] = strconv.FormatInt(rep.DurationMS, 10)
	return sense
}

func ladderRemedy(s netdiag.Remedy) fault.Remedy {
	return fault.Remedy{Text: s.Text, Impact: s.Impact, Command: s.Command}
}

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
	return text
}
