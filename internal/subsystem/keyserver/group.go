package keyserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem/keyserver/keyring"
)

// groupID names the check of a group.
func groupID(name string) string { return "keyserver.group@" + name }

// groupCheck judges what the newest validations of a group's servers say together.
// It asks no server.
func (k *KeyServers) groupCheck(g Group) check.Check {
	c := check.Check{
		Name: "keyserver.group", Resource: g.Name, Codes: []fault.Code{CodeNoPrimary, CodeRedundancyLost, CodeAllLost},
		Every: g.Exception, Version: fmt.Sprint(k.defined(g.Name)),
		Run: func(_ context.Context, r *check.Report) { k.judgeGroup(r, g.Name) },
	}
	for _, s := range k.of(g.Name) {
		for _, code := range whatStops() {
			c.Causes = append(c.Causes, fault.Key{Code: code, Resource: s.Name})
		}
	}
	return c
}

// defined names the servers of a group, the primaries marked.
func (k *KeyServers) defined(group string) []string {
	var out []string
	for _, s := range k.of(group) {
		n := s.Name
		if s.Primary {
			n += " (primary)"
		}
		out = append(out, n)
	}
	return out
}

func (k *KeyServers) judgeGroup(r *check.Report, group string) {
	all := k.of(group)
	k.judgePrimary(r, group, all)
	var usable, unusable, unknown []string
	for _, s := range all {
		switch w, ok := k.sight(s.Name); {
		case !ok || !w.looked:
			unknown = append(unknown, s.Name)
		case w.usable:
			usable = append(usable, s.Name)
		default:
			unusable = append(unusable, s.Name+" ("+w.why+")")
		}
	}
	if len(all) == 0 {
		unusable = []string{"none is defined any more, and keys of it are in use"}
	}
	sense := map[string]string{"group": group, "servers": fmt.Sprint(len(all)), "usable": orNone(usable), "unusable": orNone(unusable)}
	why := "not yet validated: " + joined(unknown)
	switch {
	case len(usable) >= 2:
		r.Absent(CodeRedundancyLost)
	case len(usable)+len(unknown) >= 2:
		r.Unknown(CodeRedundancyLost, why)
	default:
		one := clone(sense)
		if len(all) == 1 {
			one["qualifier"] = "single"
		}
		r.Present(CodeRedundancyLost, fmt.Errorf("usable of group %s: %s; not usable: %s", group, one["usable"], one["unusable"]), one)
	}
	switch {
	case len(usable) > 0:
		r.Absent(CodeAllLost)
		r.Proved("usable: %s", joined(usable))
	case len(unknown) > 0:
		r.Unknown(CodeAllLost, why)
	default:
		if until, ok := k.cachedUntil(); ok {
			sense["cached_until"] = utc(until)
		}
		r.Present(CodeAllLost, fmt.Errorf("no key server of group %s gives this node a key: %s", group, sense["unusable"]), sense)
	}
}

func (k *KeyServers) judgePrimary(r *check.Report, group string, all []Server) {
	var primaries []string
	for _, s := range all {
		if s.Primary {
			primaries = append(primaries, s.Name)
		}
	}
	slices.Sort(primaries)
	sense := map[string]string{"group": group, "primaries": orNone(primaries), "qualifier": "none"}
	switch len(primaries) {
	case 1:
		r.Absent(CodeNoPrimary)
	case 0:
		r.Present(CodeNoPrimary, fmt.Errorf("no server of group %s is defined as its primary", group), sense)
	default:
		sense["qualifier"] = "several"
		r.Present(CodeNoPrimary, fmt.Errorf("group %s has %d primaries: %s", group, len(primaries), joined(primaries)), sense)
	}
}

// cachedUntil is until when the current key may be used from memory.
func (k *KeyServers) cachedUntil() (time.Time, bool) {
	st, err := k.present().Status()
	if err != nil || st.Current == nil {
		return time.Time{}, false
	}
	return k.source.Held(*st.Current)
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return joined(all)
}

func clone(m map[string]string) map[string]string {
	out := make(map[string]string, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	return out
}

// The intervals of the checks that read this node's disk only.
const (
	keyEvery      = 15 * time.Minute
	recoveryEvery = time.Hour
)

// recoveryResource stands for the recovery key of this node.
const recoveryResource = "recovery-key"

// keyID names the check of the node's key.
func (k *KeyServers) keyID() string { return "keyserver.key@" + k.options().prefix + ringName }

// keyCheck judges the renewal of the node's key.
func (k *KeyServers) keyCheck() check.Check {
	return check.Check{
		Name: "keyserver.key", Resource: k.options().prefix + ringName, Every: keyEvery, Codes: []fault.Code{CodeRekeyFailed, CodeRekeyStale},
		Run: func(_ context.Context, r *check.Report) { k.judgeKey(r) },
	}
}

func (k *KeyServers) judgeKey(r *check.Report) {
	st, err := k.present().Status()
	if err != nil {
		r.Unknown(CodeRekeyFailed, err.Error())
		r.Unknown(CodeRekeyStale, err.Error())
		return
	}
	n := st.Renewal
	if n == nil {
		if st.Current == nil && len(k.all()) == 0 {
			for _, code := range []fault.Code{CodeRekeyFailed, CodeRekeyStale} {
				r.NotApplicable(code, "no key server keeps a key of this node")
			}
			return
		}
		r.Absent(CodeRekeyFailed, CodeRekeyStale)
		return
	}
	sense := map[string]string{"key": ringName, "phase": string(n.Phase), "unique_id": n.UID, "key_name": n.KeyName}
	if n.Old != nil {
		sense["unique_id_old"] = n.Old.UID
	}
	if n.Failure == nil {
		r.Absent(CodeRekeyFailed)
	} else {
		failed := clone(sense)
		failed["qualifier"], failed["failed_at"] = stepOfPhase(n.Failure.Phase), utc(n.Failure.At)
		r.Present(CodeRekeyFailed, errors.New(n.Failure.Error), nonEmpty(failed))
	}
	waits := n.Phase == keyring.PhaseProved || n.Phase == keyring.PhaseSlotted || n.Phase == keyring.PhaseVerified
	if age := k.now().Sub(n.Changed); waits && age > rekeyStale {
		sense["since"] = utc(n.Changed)
		r.Present(CodeRekeyStale, fmt.Errorf("generation %d of key %s is %s since %s and not taken into use", n.Gen, ringName, n.Phase, utc(n.Changed)), nonEmpty(sense))
		return
	}
	r.Absent(CodeRekeyStale)
}

func nonEmpty(m map[string]string) map[string]string {
	for k, v := range m {
		if v == "" {
			delete(m, k)
		}
	}
	return m
}

// stepOfPhase is the command's step that a phase belongs to.
func stepOfPhase(p keyring.Phase) string {
	switch p {
	case keyring.PhaseNamed, keyring.PhaseSent:
		return "prepare"
	case keyring.PhaseCreated:
		return "verify"
	case keyring.PhaseProved, keyring.PhaseSlotted, keyring.PhaseVerified:
		return "commit"
	case keyring.PhaseCancelling:
		return "cancel"
	}
	return "retire"
}
