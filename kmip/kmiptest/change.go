package kmiptest

import (
	"slices"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// wanted reads the attribute of a request to change one: Attribute in KMIP 1.x, New Attribute in 2.x.
func (x *exchange) wanted(in *item) (attribute, error) {
	it := in.kid(ttlv.TagAttribute)
	if x.version.Major() >= 2 {
		it = in.kid(ttlv.TagNewAttribute)
		if it == nil || len(it.kids) != 1 {
			return attribute{}, refusef(reasonInvalidMessage, "New Attribute holds one attribute")
		}
		it = it.kids[0]
	}
	if it == nil {
		return attribute{}, refusef(reasonInvalidMessage, "no attribute is given")
	}
	a, err := decodeAttribute(x.version, it)
	if err != nil {
		return a, err
	}
	if !knows(x.version, a.name) {
		return a, refusef(reasonInvalidField, "there is no attribute %q", a.name)
	}
	return a, x.wellFormed(a)
}

// inState tells whether a right that is bound to states holds now.
func inState(o *object, r rights, state kmip.State) bool {
	if r&(whilePreActive|whileActive) == 0 {
		return true
	}
	return r&whilePreActive != 0 && state == kmip.StatePreActive || r&whileActive != 0 && state == kmip.StateActive
}

// changed answers what a change of an attribute does: in KMIP 1.x the attribute goes with the identifier.
func (x *exchange) changed(id []*item, a attribute, err error) ([]*item, error) {
	if err == nil && x.version.Major() < 2 {
		id = append(id, a.encode(x.version))
	}
	return id, err
}

func (x *exchange) addAttribute(in *item) ([]*item, error) {
	a, err := x.wanted(in)
	if err != nil {
		return nil, err
	}
	if a.index >= 0 {
		return nil, refusef(reasonInvalidField, "a new attribute comes without index")
	}
	id, err := x.alter(in, func(o *object) error {
		r := rightsOf(a.name)
		switch {
		case r&mayAdd == 0 || !inState(o, r, o.state(x.now)):
			return refusef(reasonReadOnly, "attribute %q cannot be added to object %s", a.name, o.id)
		case r&multiple == 0 && o.find(a.vendor, a.name, -1) >= 0:
			return refusef(reasonExists, "object %s has attribute %q already", o.id, a.name)
		}
		o.append(a)
		a = o.attrs[len(o.attrs)-1]
		return nil
	})
	return x.changed(id, a, err)
}

func (x *exchange) modifyAttribute(in *item) ([]*item, error) {
	a, err := x.wanted(in)
	if err != nil {
		return nil, err
	}
	var current *item
	if c := in.kid(ttlv.TagCurrentAttribute); c != nil && len(c.kids) == 1 {
		was, err := decodeAttribute(x.version, c.kids[0])
		if err != nil {
			return nil, err
		}
		current = was.value
	}
	id, err := x.alter(in, func(o *object) error {
		r := rightsOf(a.name)
		if r&mayModify == 0 || !inState(o, r, o.state(x.now)) {
			return refusef(reasonReadOnly, "attribute %q of object %s cannot be modified", a.name, o.id)
		}
		i := o.find(a.vendor, a.name, a.index)
		if current != nil {
			i = o.having(a.vendor, a.name, current)
		}
		switch {
		case i < 0 && o.find(a.vendor, a.name, -1) < 0:
			return refusef(reasonNoAttribute, "object %s has no attribute %q", o.id, a.name)
		case i < 0:
			return refusef(reasonNoInstance, "object %s has no such instance of attribute %q", o.id, a.name)
		}
		o.attrs[i].value = a.value
		a = o.attrs[i]
		return nil
	})
	return x.changed(id, a, err)
}

// having answers the place of the instance with a value.
func (o *object) having(vendor, name string, value *item) int {
	return slices.IndexFunc(o.attrs, func(a attribute) bool {
		return a.name == name && a.vendor == vendor && a.value.equal(value)
	})
}

// setAttribute is of KMIP 2.x: whatever instances there are, this is the one afterwards.
func (x *exchange) setAttribute(in *item) ([]*item, error) {
	a, err := x.wanted(in)
	if err != nil {
		return nil, err
	}
	return x.alter(in, func(o *object) error {
		r := rightsOf(a.name)
		if r&mayModify == 0 || !inState(o, r, o.state(x.now)) {
			return refusef(reasonReadOnly, "attribute %q of object %s cannot be set", a.name, o.id)
		}
		if r&multiple != 0 && o.find(a.vendor, a.name, -1) >= 0 {
			return refusef(kmip.ResultReasonMultiValuedAttribute, "attribute %q can have several values", a.name)
		}
		o.attrs = slices.DeleteFunc(o.attrs, func(b attribute) bool { return b.name == a.name && b.vendor == a.vendor })
		o.append(a)
		return nil
	})
}

// condemned reads which instance a Delete Attribute is about: by value (2.x), else by name and index.
func (x *exchange) condemned(in *item) (a attribute, err error) {
	switch c := in.kid(ttlv.TagCurrentAttribute); {
	case x.version.Major() < 2:
		a.name, a.index = clean(in.kid(ttlv.TagAttributeName).text()), 0
		if n := in.kid(ttlv.TagAttributeIndex); n != nil {
			a.index = n.integer()
		}
	case c != nil && len(c.kids) == 1:
		a, err = decodeAttribute(x.version, c.kids[0])
	default:
		if it := in.kid(ttlv.TagAttributeReference); it != nil {
			r := readReference(it)
			a.vendor, a.name, a.index = r.vendor, r.name, -1
		}
	}
	if err == nil && (a.name == "" || a.index < -1) {
		err = refusef(reasonInvalidMessage, "no attribute is named")
	}
	return a, err
}

func (x *exchange) deleteAttribute(in *item) ([]*item, error) {
	a, err := x.condemned(in)
	if err != nil {
		return nil, err
	}
	id, err := x.alter(in, func(o *object) error {
		i := o.find(a.vendor, a.name, a.index)
		if a.value != nil {
			i = o.having(a.vendor, a.name, a.value)
		}
		switch {
		case rightsOf(a.name)&mayDelete == 0:
			return refusef(reasonReadOnly, "attribute %q of object %s cannot be deleted", a.name, o.id)
		case i < 0 && o.find(a.vendor, a.name, -1) < 0:
			return refusef(reasonNoAttribute, "object %s has no attribute %q", o.id, a.name)
		case i < 0:
			return refusef(reasonNoInstance, "object %s has no such instance of attribute %q", o.id, a.name)
		}
		a = o.attrs[i]
		if x.version.Major() >= 2 && in.kid(ttlv.TagCurrentAttribute) == nil {
			o.attrs = slices.DeleteFunc(o.attrs, func(b attribute) bool { return b.name == a.name && b.vendor == a.vendor })
			return nil
		}
		o.attrs = slices.Delete(o.attrs, i, i+1)
		return nil
	})
	return x.changed(id, a, err)
}
