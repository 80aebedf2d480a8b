package sshpolicy

import (
	"context"
	"slices"
	"time"
)

// ProvePlan lists the key exchanges that proving would try after the look r:
// the number of further connections it makes, one each.
func ProvePlan(r Result, p Policy) []string {
	if r.Offer == nil {
		return nil
	}
	var plan []string
	for _, name := range r.Categories.KEX.Common {
		if Go.Can(KEX, name) {
			plan = append(plan, name)
		}
	}
	return plan
}

// MaxConnections is how many connections one look with these options can make
// to a target, so that it can be said beforehand: a server may punish many.
func MaxConnections(o Options) int {
	n := 1
	if part, err := o.Policy.For(Go); err == nil && o.Prove {
		n += len(part.KEX)
	}
	for _, pin := range o.Pins {
		if pin.Type == "" && len(o.TypeHints) == 0 {
			return n + 3 // Ed25519, ECDSA and RSA in turn
		}
	}
	return n
}

// prove handshakes each common key exchange on its own. An offer is not proof:
// some servers advertise what they cannot do.
func (p *prober) prove(ctx context.Context, t Target, r *Result) {
	plan := ProvePlan(*r, p.Policy)
	limited := ""
	types := pinnedTypes(p.Pins, p.TypeHints)
	for _, kex := range r.Categories.KEX.Common {
		proof := Proof{Algorithm: kex, Outcome: ProofNotTried}
		switch {
		case !slices.Contains(plan, kex):
			proof.Why = "the built-in transport cannot do it"
		case limited != "":
			proof.Why = limited
		case ctx.Err() != nil:
			proof.Why = "cancelled"
		default:
			proof = p.proveOne(ctx, t, r, p.asking(types, []string{kex}))
			if proof.Qualifier == NotSSHRateLimited {
				limited = "the server takes no more connections from us"
			}
		}
		r.Proofs = append(r.Proofs, proof)
	}
}

func (p *prober) proveOne(ctx context.Context, t Target, r *Result, part Policy) Proof {
	began := time.Now()
	without := *p // the credential is not needed for this
	without.Login = nil
	one := newResult(t, p.Policy)
	_, err := without.connect(ctx, &one, part)
	r.Connections += one.Connections
	proof := Proof{Algorithm: part.KEX[0], Outcome: ProofOK, DurationMS: time.Since(began).Milliseconds()}
	if h := one.Handshake; h != nil {
		proof.GroupBits = h.GroupBits
		if h.Why != "" {
			proof.Outcome, proof.Why = ProofNotTried, h.Why
		}
	}
	if err != nil {
		proof.Outcome, proof.Why = ProofFailed, err.Error()
		proof.Code, proof.Qualifier = Classify(err)
	}
	return proof
}
