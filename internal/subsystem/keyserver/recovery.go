package keyserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// recoveryAge is how long ago the recovery key may have been validated last.
const recoveryAge = 180 * day

// recoveryCheck judges whether somebody has proved that the recovery key exists.
func (k *KeyServers) recoveryCheck() check.Check {
	return check.Check{
		Name: "keyserver.recovery", Resource: k.options().prefix + recoveryResource, Every: recoveryEvery,
		Codes: []fault.Code{CodeRecoveryUnproven},
		Run:   func(_ context.Context, r *check.Report) { k.judgeRecovery(r) },
	}
}

func (k *KeyServers) judgeRecovery(r *check.Report) {
	rec, err := k.keeper.Recovery()
	switch {
	case errors.Is(err, envelope.ErrNoRecovery):
		r.NotApplicable(CodeRecoveryUnproven, "no recovery key was made")
		return
	case err != nil:
		r.Unknown(CodeRecoveryUnproven, err.Error())
		return
	}
	sense := map[string]string{"fingerprint": rec.Fingerprint, "created": utc(rec.Created), "validated": "never"}
	if rec.Validated.IsZero() {
		sense["qualifier"] = "never"
		r.Present(CodeRecoveryUnproven, fmt.Errorf("the recovery key %s was never validated", rec.Fingerprint), sense)
		return
	}
	if k.now().Sub(rec.Validated) > recoveryAge {
		sense["qualifier"], sense["validated"] = "old", utc(rec.Validated)
		r.Present(CodeRecoveryUnproven, fmt.Errorf("the recovery key %s was last validated at %s", rec.Fingerprint, utc(rec.Validated)), sense)
		return
	}
	r.Absent(CodeRecoveryUnproven)
	r.Proved("the recovery key %s opened %d things at %s", rec.Fingerprint, rec.Things, utc(rec.Validated))
}

func (k *KeyServers) doRecoveryCreate(ctx context.Context, _ struct{}, _ func(wire.Progress)) (wire.KeyRecovery, error) {
	identity, rec, err := k.keeper.CreateRecovery(ctx)
	if err != nil {
		return wire.KeyRecovery{}, err
	}
	w, err := k.wireRecovery(rec)
	w.Identity = identity
	return w, err
}

func (k *KeyServers) doRecoveryValidate(ctx context.Context, in wire.KeyRecoveryRequest, _ func(wire.Progress)) (wire.KeyRecovery, error) {
	rec, err := k.keeper.ValidateRecovery(ctx, in.Identity)
	if err != nil {
		return wire.KeyRecovery{}, err
	}
	return k.wireRecovery(rec)
}

// doRecoveryUse gives what no key opens any more a slot under a key that there is,
// by means of the recovery key: the way back when the key servers, or this host's
// key file, are gone for good.
func (k *KeyServers) doRecoveryUse(ctx context.Context, in wire.KeyRecoveryRequest, _ func(wire.Progress)) (wire.KeyRecovery, error) {
	opened, err := k.keeper.Recover(context.WithValue(ctx, recovering{}, true), in.Identity)
	if err != nil {
		return wire.KeyRecovery{}, err
	}
	rec, err := k.keeper.Recovery()
	if err != nil {
		return wire.KeyRecovery{}, err
	}
	w, err := k.wireRecovery(rec)
	w.Things = append([]string{}, opened...)
	return w, err
}

// recovering marks the context of a recovery, in which the key file of this host
// stands in for key servers that are gone.
type recovering struct{}

func (k *KeyServers) wireRecovery(rec envelope.Recovery) (wire.KeyRecovery, error) {
	w := wire.KeyRecovery{
		Fingerprint: rec.Fingerprint, Recipient: rec.Recipient, Created: rec.Created, Validated: moment(rec.Validated), Things: []string{},
	}
	ids, err := k.keeper.IDs()
	for _, id := range ids {
		if in, err := k.keeper.Describe(id); err == nil && in.Recovery {
			w.Things = append(w.Things, id)
		}
	}
	return w, err
}

// moment is a time, or null for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
