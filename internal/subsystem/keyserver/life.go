package keyserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/kmip"
)

// lifeEvery is the time between two test keys on a primary.
const lifeEvery = day

// lifeTest remembers the names of test keys until they are gone, whatever happens
// to this process in between.
type lifeTest struct {
	node      string
	leftovers []string
	// Each is durable when it returns.
	begin  func(name string) error
	gone   func(name string) error
	lived  func(name string) error // gone, after a whole life
	failed func() error
}

// testLife sends a key of its own through its whole life: what only reads cannot
// show that the next renewal will work.
func (v *validation) testLife(ctx context.Context) bool {
	switch {
	case !v.server.Primary:
		v.owed = false
		v.step(stepLife, outcomeOK, "not needed: keys are made on the primary", 0)
		return true
	case v.life == nil:
		v.step(stepLife, outcomeOK, "not now: it is done once a day and when an operator asks", 0)
		return true
	case v.found(CodePrimaryConflict):
		v.step(stepLife, outcomeNotTried, "a clone lets nobody make keys", 0)
		return true
	}
	start := time.Now()
	// No key is made before those of earlier tests are gone: there is at most one
	// that the server does not let go.
	for _, name := range v.life.leftovers {
		if op, uid, err := v.sweep(ctx, name); err != nil {
			return v.lifeFailed(op, uid, err)
		}
		if err := v.life.gone(name); err != nil {
			return v.notKept(start, err)
		}
	}
	name := "allclear-" + v.life.node + "-test-" + strings.ToLower(rand.Text()[:12])
	if err := v.life.begin(name); err != nil {
		return v.notKept(start, err)
	}
	op, uid, err := v.liveAndDie(ctx, name)
	if err != nil {
		if _, _, left := v.sweep(ctx, name); left == nil {
			_ = v.life.gone(name) // else the next test looks for it once more
		}
		return v.lifeFailed(op, uid, err)
	}
	if err := v.life.lived(name); err != nil {
		return v.notKept(start, err)
	}
	v.res.lifeDone, v.owed = true, false
	v.step(stepLife, outcomeOK, "a test key was made, read, activated, revoked and destroyed", time.Since(start))
	return true
}

// lifeFailed judges a life that did not go well. It is owed until one does: looks
// that make no test key would clear the fault without proof.
func (v *validation) lifeFailed(op, uid string, err error) bool {
	if !v.owed {
		v.owed = true
		if err := v.life.failed(); err != nil {
			v.step(stepLife, outcomeWarning, err.Error(), 0)
		}
	}
	return v.kmipFailed(stepLife, op, uid, err)
}

// notKept ends the step when our own disk fails: the server is not to blame.
func (v *validation) notKept(start time.Time, err error) bool {
	v.step(stepLife, outcomeWarning, err.Error(), time.Since(start))
	return true
}

func (v *validation) found(code fault.Code) bool {
	for _, f := range v.res.found {
		if f.code == code {
			return true
		}
	}
	return false
}

// liveAndDie makes a key, uses it and destroys it. It answers the operation that
// failed and the key's identifier.
func (v *validation) liveAndDie(ctx context.Context, name string) (op, uid string, err error) {
	var made kmip.Created
	steps := []struct {
		op string
		do func() error
	}{
		{"Create", func() (err error) {
			made, err = v.client.CreateKey(ctx, kmip.KeySpec{
				Name: name, Algorithm: kmip.CryptographicAlgorithmAES, Bits: 8 * envelope.KeySize,
				Usage: kmip.CryptographicUsageMaskEncrypt | kmip.CryptographicUsageMaskDecrypt,
			})
			return err
		}},
		{"Activate", func() error { return v.client.Activate(ctx, made.UniqueID) }},
		{"Get", func() error { return v.readTest(ctx, made.UniqueID) }},
		{"Revoke", func() error {
			return v.client.Revoke(ctx, made.UniqueID, kmip.RevocationReasonCodeCessationOfOperation, "test", time.Time{})
		}},
		{"Destroy", func() error { return v.client.Destroy(ctx, made.UniqueID) }},
	}
	for _, s := range steps {
		if err := v.timed(s.op, s.do); err != nil {
			return s.op, made.UniqueID, err
		}
	}
	if err := v.readTest(ctx, made.UniqueID); err == nil {
		return "Destroy", made.UniqueID, &kmip.ProtocolError{Op: kmip.OperationDestroy, Reason: "the server still gives a key that it destroyed"}
	}
	return "", made.UniqueID, nil
}

// readTest gets the test key twice: it must be a key, and the same.
func (v *validation) readTest(ctx context.Context, uid string) error {
	var checks [2]envelope.Check
	for i := range checks {
		k, err := v.client.GetKey(ctx, uid)
		if err != nil {
			return err
		}
		n := len(k.Bytes)
		checks[i] = envelope.CheckOf(k.Bytes)
		clear(k.Bytes)
		if n != envelope.KeySize {
			return &kmip.ProtocolError{Op: kmip.OperationGet, Reason: fmt.Sprintf("a key of %d bits was made and one of %d is given", 8*envelope.KeySize, 8*n)}
		}
	}
	if checks[0] != checks[1] {
		return &kmip.ProtocolError{Op: kmip.OperationGet, Reason: "two Gets of one key gave different bytes"}
	}
	return nil
}

// sweep destroys what a test left behind under a name.
func (v *validation) sweep(ctx context.Context, name string) (op, uid string, err error) {
	uids, err := v.client.Locate(ctx, kmip.NameAttr(name))
	if e, ok := errors.AsType[*kmip.Error](err); ok && e.Reason == kmip.ResultReasonItemNotFound {
		uids, err = nil, nil
	}
	if err != nil {
		return "Locate", "", err
	}
	for _, uid := range uids {
		switch v.state(ctx, uid) {
		case kmip.StateDestroyed.String(), kmip.StateDestroyedCompromised.String():
			continue
		case kmip.StateActive.String():
			if err := v.client.Revoke(ctx, uid, kmip.RevocationReasonCodeCessationOfOperation, "test", time.Time{}); err != nil {
				return "Revoke", uid, err
			}
		}
		if err := v.client.Destroy(ctx, uid); err != nil {
			return "Destroy", uid, err
		}
	}
	return "", "", nil
}
