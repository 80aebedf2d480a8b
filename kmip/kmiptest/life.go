package kmiptest

import (
	"slices"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// target answers the id that an operation is about: what the request names, or the ID placeholder.
func (x *exchange) target(in *item) (string, error) {
	it := in.kid(ttlv.TagUniqueIdentifier)
	switch {
	case it == nil && x.holder == "":
		return "", refusef(reasonItemNotFound, "no unique identifier is given and none was made in this batch")
	case it == nil:
		return x.holder, nil
	case it.val.Type == ttlv.TypeTextString:
		return it.text(), nil
	case it.val.Type == ttlv.TypeEnumeration && it.enum() == uint32(kmip.UniqueIdentifierIDPlaceholder) && x.holder != "":
		return x.holder, nil
	}
	return "", refusef(reasonInvalidField, "a unique identifier that is no text")
}

// object answers the one that an operation is about.
func (x *exchange) object(in *item) (*object, error) {
	id, err := x.target(in)
	if err != nil {
		return nil, err
	}
	return x.lookup(id)
}

func (x *exchange) lookup(id string) (*object, error) {
	o := x.st.get(id)
	if o == nil || x.hides(id) {
		return nil, refusef(reasonItemNotFound, "there is no object %q", id)
	}
	return o, nil
}

// hides tells whether a fault has the object missing.
func (x *exchange) hides(id string) bool {
	return x.fault != nil && x.fault.Kind == Missing && (x.fault.ID == "" || x.fault.ID == id)
}

// described answers the object that an operation is about, destroyed or not, if its attributes can be had.
func (x *exchange) described(in *item) (*object, error) {
	o, err := x.object(in)
	if err == nil && o.archived() {
		return nil, refusef(reasonObjectArchived, "object %s is archived", o.id)
	}
	return o, err
}

// usable answers the object that an operation is about if there is something to work with.
func (x *exchange) usable(in *item) (*object, error) {
	o, err := x.object(in)
	switch {
	case err != nil:
		return nil, err
	case o.archived():
		return nil, refusef(reasonObjectArchived, "object %s is archived", o.id)
	case o.destroyed() || o.value == nil:
		return nil, refusef(reasonItemNotFound, "object %s is destroyed", o.id)
	}
	return o, nil
}

// alter changes the object that an operation is about, and answers its identifier.
func (x *exchange) alter(in *item, f func(*object) error) ([]*item, error) {
	o, err := x.object(in)
	if err != nil {
		return nil, err
	}
	err = x.change(o.id, func(o *object) error {
		if o.archived() && x.op != kmip.OperationRecover {
			return refusef(reasonObjectArchived, "object %s is archived", o.id)
		}
		if err := f(o); err != nil {
			return err
		}
		o.set(date(ttlv.TagLastChangeDate, x.now))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id)}, nil
}

func (x *exchange) activate(in *item) ([]*item, error) {
	return x.alter(in, func(o *object) error {
		switch state := o.state(x.now); {
		case !o.stateful():
			return refusef(reasonIllegalOperation, "objects of type %s are not activated", o.kind)
		case state != kmip.StatePreActive:
			return refusef(reasonWrongState, "object %s is %s", o.id, state)
		}
		o.set(date(ttlv.TagActivationDate, x.now))
		return nil
	})
}

func (x *exchange) revoke(in *item) ([]*item, error) {
	why := in.kid(ttlv.TagRevocationReason)
	code := kmip.RevocationReasonCode(why.kid(ttlv.TagRevocationReasonCode).enum())
	if code < kmip.RevocationReasonCodeUnspecified || code > kmip.RevocationReasonCodePrivilegeWithdrawn {
		return nil, refusef(reasonInvalidField, "revocation reason %s is not recognised", code)
	}
	return x.alter(in, func(o *object) error {
		state := o.state(x.now)
		compromised := code == kmip.RevocationReasonCodeKeyCompromise || code == kmip.RevocationReasonCodeCACompromise
		switch {
		case o.kind == kmip.ObjectTypeTemplate:
			return refusef(reasonIllegalOperation, "a template is not revoked")
		case compromised:
			o.set(date(ttlv.TagCompromiseDate, x.now))
			o.set(date(ttlv.TagCompromiseOccurrenceDate, occurrence(in, o, x.now)))
		case o.stateful() && state != kmip.StateActive && state != kmip.StateDeactivated:
			return refusef(reasonIllegalOperation, "object %s is %s, only an active one can be deactivated", o.id, state)
		case o.stateful():
			o.set(date(ttlv.TagDeactivationDate, x.now))
		}
		o.set(why)
		return nil
	})
}

// occurrence is the Compromise Occurrence Date: what the client says, else the object's first day.
func occurrence(in *item, o *object, now time.Time) time.Time {
	if it := in.kid(ttlv.TagCompromiseOccurrenceDate); it != nil {
		return it.time()
	}
	if first := o.when(ttlv.TagInitialDate); !first.IsZero() {
		return first
	}
	return now
}

func (x *exchange) destroy(in *item) ([]*item, error) {
	return x.alter(in, func(o *object) error {
		switch state := o.state(x.now); {
		case o.destroyed():
			return refusef(reasonWrongState, "object %s is destroyed already", o.id)
		case o.stateful() && state == kmip.StateActive:
			return refusef(reasonWrongState, "object %s is active", o.id)
		}
		o.value = nil
		o.set(date(ttlv.TagDestroyDate, x.now))
		return nil
	})
}

func (x *exchange) archive(in *item) ([]*item, error) {
	return x.alter(in, func(o *object) error {
		o.set(date(ttlv.TagArchiveDate, x.now))
		return nil
	})
}

func (x *exchange) unarchive(in *item) ([]*item, error) {
	return x.alter(in, func(o *object) error {
		o.drop(ttlv.TagArchiveDate)
		return nil
	})
}

// leaseSeconds is for how long a client may use what it was given.
const leaseSeconds = 3600

func (x *exchange) obtainLease(in *item) ([]*item, error) {
	o, err := x.usable(in)
	if err != nil {
		return nil, err
	}
	if state := o.state(x.now); o.stateful() && state != kmip.StatePreActive && state != kmip.StateActive {
		return nil, refusef(reasonPermissionDenied, "object %s is %s", o.id, state)
	}
	return []*item{
		text(ttlv.TagUniqueIdentifier, o.id), interval(ttlv.TagLeaseTime, leaseSeconds),
		date(ttlv.TagLastChangeDate, o.when(ttlv.TagLastChangeDate)),
	}, nil
}

// check tells whether an object may be used as the client wants to. What may not is named in the answer.
func (x *exchange) check(in *item) ([]*item, error) {
	o, err := x.usable(in)
	if err != nil {
		return nil, err
	}
	if want := in.kid(ttlv.TagCryptographicUsageMask); want != nil {
		if have := o.attr(ttlv.TagCryptographicUsageMask); want.integer()&^have.integer() != 0 {
			return nil, refusef(reasonUsageMask, "object %s may be used to %s only", o.id, usage(have))
		}
	}
	if want := in.kid(ttlv.TagUsageLimitsCount); want != nil {
		if left := o.attr(ttlv.TagUsageLimits).kid(ttlv.TagUsageLimitsCount); left != nil && left.long() < want.long() {
			return nil, refusef(reasonPermissionDenied, "%d are left of the usage limit of object %s", left.long(), o.id)
		}
	}
	if want := in.kid(ttlv.TagLeaseTime); want != nil {
		if n, _ := want.val.Interval(); n > leaseSeconds {
			return nil, refusef(reasonPermissionDenied, "leases are of %d s at most", leaseSeconds)
		}
	}
	return []*item{text(ttlv.TagUniqueIdentifier, o.id)}, nil
}

func usage(mask *item) string {
	return ttlv.TagCryptographicUsageMask.ValueName(uint32(mask.integer()))
}

// getUsageAllocation takes from what is left of a usage limit (KMIP 1.4 section 4.18).
func (x *exchange) getUsageAllocation(in *item) ([]*item, error) {
	want := in.kid(ttlv.TagUsageLimitsCount)
	if want == nil || want.long() < 0 {
		return nil, refusef(reasonInvalidMessage, "no usage limits count")
	}
	return x.alter(in, func(o *object) error { return o.spend(want.long()) })
}

// spend takes n from the usage limit, which the object must have.
func (o *object) spend(n int64) error {
	limits := o.attr(ttlv.TagUsageLimits)
	if limits == nil {
		return refusef(reasonIllegalOperation, "object %s has no usage limit", o.id)
	}
	total := limits.kid(ttlv.TagUsageLimitsTotal)
	left := limits.kid(ttlv.TagUsageLimitsCount)
	if left == nil {
		left = total.retag(ttlv.TagUsageLimitsCount)
	}
	if left.long() < n {
		return refusef(reasonPermissionDenied, "%d are left of the usage limit of object %s", left.long(), o.id)
	}
	kids := slices.DeleteFunc(slices.Clone(limits.kids), func(k *item) bool { return k.tag == ttlv.TagUsageLimitsCount })
	o.set(structure(ttlv.TagUsageLimits, kids...).add(long(ttlv.TagUsageLimitsCount, left.long()-n)))
	return nil
}
