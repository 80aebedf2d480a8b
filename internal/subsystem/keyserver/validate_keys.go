package keyserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/wire"
	"allclear/kmip"
)

// usedKey is a generation of a key that something hangs on here.
type usedKey struct {
	key string // as the operator calls it
	ref envelope.SlotRef
}

// kmipFailed judges an exchange that went wrong once the server was reached
// (seed 002, event 086006), and ends the climb.
func (v *validation) kmipFailed(step int, op, uid string, err error) bool {
	if v.refusedUs(step, op, uid, err, false) {
		return false
	}
	qualifier, sense := kmipSense(op, uid, err)
	f := finding{code: CodeKMIPError, qualifier: qualifier, step: step, err: err, sense: sense}
	if v.server.Primary || v.sole {
		f.severity = fault.Critical
	}
	v.fail(f)
	return false
}

// refusedUs judges a KMIP reason that means our certificate: the server knows it
// and does not want it (AuthenticationNotSuccessful), or not yet (PermissionDenied
// where no object is asked for). Servers differ in reasons, so that a denied
// object says nothing of the certificate.
func (v *validation) refusedUs(step int, op, uid string, err error, general bool) bool {
	e, ok := errors.AsType[*kmip.Error](err)
	if !ok {
		return false
	}
	qualifier := ""
	switch {
	case e.Reason == kmip.ResultReasonAuthenticationNotSuccessful:
		qualifier = "denied"
	case e.Reason == kmip.ResultReasonPermissionDenied && general:
		qualifier = "pending"
	default:
		return false
	}
	_, sense := kmipSense(op, uid, err)
	if v.group.Device != "" {
		sense["device_group"] = v.group.Device
	}
	for _, c := range v.res.certs {
		if c.which == "client" {
			sense["client_subject"], sense["client_serial"], sense["client_not_after"] = c.peer.Subject, c.peer.Serial, utc(c.peer.NotAfter)
		}
	}
	v.fail(finding{code: CodeClientNotAccepted, qualifier: qualifier, cause: "kmip-refused", step: step, err: err, sense: sense})
	return true
}

// kmipSense is the evidence of an exchange that went wrong. Seed 002 demands four
// items of event 086006: the KMIP error code (here the number of the Result
// Reason), the result status, the result reason, and the result message.
func kmipSense(op, uid string, err error) (qualifier string, sense map[string]string) {
	sense = map[string]string{"operation": op}
	if uid != "" {
		sense["unique_id"] = uid
	}
	if e, ok := errors.AsType[*kmip.Error](err); ok {
		sense["error_code"] = fmt.Sprintf("0x%08X", uint32(e.Reason))
		sense["result_status"] = fmt.Sprintf("%s (%d)", e.Status, e.Status)
		sense["result_reason"] = fmt.Sprintf("%s (%d)", e.Reason, e.Reason)
		sense["result_message"] = e.Message
		sense["protocol_version"] = e.Version.String()
		return "refused", sense
	}
	if p, ok := errors.AsType[*kmip.ProtocolError](err); ok {
		sense["result_message"] = p.Reason
		return "malformed", sense
	}
	if t, ok := errors.AsType[*kmip.TransportError](err); ok && t.Timeout() {
		return "no-answer", sense
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "hung-up", sense
	}
	return "broken", sense
}

// usedKeys reads every key that is in use here and compares its check value. A
// key that is not given does not end the climb: the others are read too.
func (v *validation) usedKeys(ctx context.Context) bool {
	start := time.Now()
	if v.keysErr != nil { // our own disk: the server is not to blame
		v.step(stepKeys, outcomeWarning, v.keysErr.Error(), 0)
		return true
	}
	if len(v.keys) == 0 {
		if !v.mayAsk(ctx) {
			return false
		}
		why := "no key of this group is in use here yet"
		v.res.na = append(v.res.na, verdict{CodeKeyMissing, "", why}, verdict{CodeKeyWrong, "", why})
		v.well(verdict{code: CodeClientNotAccepted})
		v.step(stepKeys, outcomeOK, why, time.Since(start))
		return true
	}
	bad := map[fault.Code]map[string]bool{CodeKeyMissing: {}, CodeKeyWrong: {}}
	read := 0
	for _, k := range v.keys {
		found, f, goOn := v.read(ctx, k)
		v.res.keys = append(v.res.keys, found)
		if !goOn {
			return false
		}
		if f != nil {
			if !bad[f.code][k.key] {
				v.fail(*f)
			}
			bad[f.code][k.key] = true
			continue
		}
		read++
	}
	v.well(verdict{code: CodeClientNotAccepted})
	for _, k := range v.keys {
		for _, code := range []fault.Code{CodeKeyMissing, CodeKeyWrong} {
			if !bad[code][k.key] {
				v.well(verdict{code: code, sub: "key/" + k.key})
			}
		}
	}
	v.step(stepKeys, outcomeOK, fmt.Sprintf("%d of %d generations read with the right bytes", read, len(v.keys)), time.Since(start))
	return true
}

// mayAsk asks for nothing in particular, to learn whether the server lets us ask.
func (v *validation) mayAsk(ctx context.Context) bool {
	err := v.timed("Locate", func() error {
		_, err := v.client.Locate(ctx, kmip.NameAttr("allclear-no-such-key"))
		return err
	})
	if e, ok := errors.AsType[*kmip.Error](err); ok && e.Reason == kmip.ResultReasonItemNotFound {
		err = nil // some servers say so instead of an empty list
	}
	if err == nil {
		return true
	}
	if v.refusedUs(stepKeys, "Locate", "", err, true) {
		return false
	}
	return v.kmipFailed(stepKeys, "Locate", "", err)
}

// read gets one key and proves that it is the one. goOn is false when the climb
// cannot go on.
func (v *validation) read(ctx context.Context, k usedKey) (found wire.KMIPKeyFound, f *finding, goOn bool) {
	found = wire.KMIPKeyFound{Key: k.key, Gen: k.ref.Gen, UID: k.ref.UID}
	var key *kmip.Key
	err := v.timed("Get", func() (err error) {
		key, err = v.client.GetKey(ctx, k.ref.UID)
		return err
	})
	if err != nil {
		found.Why = err.Error()
		return v.notGiven(ctx, k, found, err)
	}
	defer clear(key.Bytes)
	check := envelope.CheckOf(key.Bytes)
	found.Bits, found.Check = 8*len(key.Bytes), string(check)
	found.State = v.state(ctx, k.ref.UID)
	if check != k.ref.Check {
		found.Why = "other bytes than those that were used"
		sense := keySense(k, found)
		sense["check_have"], sense["check_want"] = string(check), string(k.ref.Check)
		return found, &finding{
			code: CodeKeyWrong, sub: "key/" + k.key, step: stepKeys, sense: sense,
			err: fmt.Errorf("%s gives %s with check value %s, it was used with %s", v.server.Name, k.ref, check, k.ref.Check),
		}, true
	}
	found.Found = true
	return found, nil, true
}

// notGiven judges a Get that brought no key. A refusal is an answer: the key is not
// had there. Anything else is a fault of the server.
func (v *validation) notGiven(ctx context.Context, k usedKey, found wire.KMIPKeyFound, err error) (wire.KMIPKeyFound, *finding, bool) {
	e, refused := errors.AsType[*kmip.Error](err)
	if !refused {
		return found, nil, v.kmipFailed(stepKeys, "Get", k.ref.UID, err)
	}
	if v.refusedUs(stepKeys, "Get", k.ref.UID, err, false) {
		return found, nil, false
	}
	qualifier := ""
	switch e.Reason {
	case kmip.ResultReasonItemNotFound:
		qualifier = "not-found"
	case kmip.ResultReasonPermissionDenied:
		if !v.mayAsk(ctx) {
			return found, nil, false // it is not this key: we may ask for nothing
		}
		qualifier = "permission"
	default:
		// What the reason means differs from server to server: the list of keys tells.
		if there, err := v.located(ctx, k.ref); err != nil || there {
			return found, nil, v.kmipFailed(stepKeys, "Get", k.ref.UID, e)
		}
		qualifier = "not-found"
	}
	_, sense := kmipSense("Get", k.ref.UID, err)
	for key, text := range keySense(k, found) {
		sense[key] = text
	}
	return found, &finding{
		code: CodeKeyMissing, sub: "key/" + k.key, qualifier: qualifier, step: stepKeys, sense: sense,
		err: fmt.Errorf("%s does not give %s: %w", v.server.Name, k.ref, err),
	}, true
}

// located asks whether the server lists a key under its name.
func (v *validation) located(ctx context.Context, ref envelope.SlotRef) (bool, error) {
	uids, err := v.client.Locate(ctx, kmip.NameAttr(ref.Name))
	return slices.Contains(uids, ref.UID), err
}

func keySense(k usedKey, found wire.KMIPKeyFound) map[string]string {
	return map[string]string{
		"unique_id": k.ref.UID, "key_name": k.ref.Name, "generation": strconv.Itoa(k.ref.Gen), "state": found.State,
	}
}

// state is the state of a key in the server's words; "" when it does not tell: a
// key that is given is more than what is told of it.
func (v *validation) state(ctx context.Context, uid string) string {
	got, err := v.client.GetAttributes(ctx, uid, "State")
	if err != nil {
		return ""
	}
	for _, a := range got {
		if n, ok := a.Value.Enumeration(); ok && a.Name == "State" {
			return kmip.State(n).String()
		}
	}
	return ""
}

// replica proves that a clone has the newest key, which nothing uses yet.
func (v *validation) replica(ctx context.Context) bool {
	if v.newest == nil {
		v.well(verdict{code: CodeReplicaLag})
		v.step(stepReplica, outcomeOK, "no key is newer than those in use", 0)
		return true
	}
	start := time.Now()
	found, f, goOn := v.read(ctx, *v.newest)
	v.res.keys = append(v.res.keys, found)
	switch {
	case !goOn:
		return false
	case f != nil && v.server.Primary: // the renewal's own matter: it is no lag
		v.well(verdict{code: CodeReplicaLag})
		v.step(stepReplica, outcomeWarning, f.err.Error(), time.Since(start))
		return true
	case f == nil:
		v.well(verdict{code: CodeReplicaLag})
		v.step(stepReplica, outcomeOK, "it has "+v.newest.ref.String(), time.Since(start))
		return true
	}
	f.sense["primary"] = v.defined
	v.fail(finding{
		code: CodeReplicaLag, step: stepReplica, qualifier: lagOf(f), sense: f.sense,
		err: fmt.Errorf("%s was made on %s and %s does not have it as it is there: %w", v.newest.ref, v.defined, v.server.Name, f.err),
	})
	return true
}

func lagOf(f *finding) string {
	if f.code == CodeKeyWrong {
		return "differs"
	}
	return "missing"
}
