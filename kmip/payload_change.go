package kmip

import (
	"time"

	"allclear/kmip/ttlv"
)

// AddAttributeRequest gives an object another attribute.
type AddAttributeRequest struct {
	UniqueID  string
	Attribute Attribute
}

// AddAttributeResponse confirms it.
type AddAttributeResponse struct {
	UniqueID  string
	Attribute Attribute // KMIP 1.x
}

// ModifyAttributeRequest changes an attribute of an object.
type ModifyAttributeRequest struct {
	UniqueID  string
	Current   *Attribute // KMIP 2.x: which of several
	Attribute Attribute
}

// ModifyAttributeResponse confirms it.
type ModifyAttributeResponse struct {
	UniqueID  string
	Attribute Attribute // KMIP 1.x
}

// DeleteAttributeRequest takes an attribute from an object.
type DeleteAttributeRequest struct {
	UniqueID string
	Name     AttributeRef // KMIP 2.x: all with this name; may be empty when Current is set
	Index    *int32       // KMIP 1.x: which of several
	Current  *Attribute   // KMIP 2.x: which of several
}

// DeleteAttributeResponse confirms it.
type DeleteAttributeResponse struct {
	UniqueID  string
	Attribute Attribute // KMIP 1.x
}

// ActivateRequest makes a key active.
type ActivateRequest struct {
	UniqueID string
}

// ActivateResponse confirms it.
type ActivateResponse struct {
	UniqueID string
}

// RevokeRequest ends the use of an object.
type RevokeRequest struct {
	UniqueID   string
	Reason     RevocationReasonCode
	Message    string
	Compromise time.Time // when it happened; zero: absent
}

// RevokeResponse confirms it.
type RevokeResponse struct {
	UniqueID string
}

// DestroyRequest destroys an object.
type DestroyRequest struct {
	UniqueID string
}

// DestroyResponse confirms it.
type DestroyResponse struct {
	UniqueID string
}

// Operation is AddAttribute.
func (*AddAttributeRequest) Operation() Operation { return OperationAddAttribute }

// Operation is AddAttribute.
func (*AddAttributeResponse) Operation() Operation { return OperationAddAttribute }

// Operation is ModifyAttribute.
func (*ModifyAttributeRequest) Operation() Operation { return OperationModifyAttribute }

// Operation is ModifyAttribute.
func (*ModifyAttributeResponse) Operation() Operation { return OperationModifyAttribute }

// Operation is DeleteAttribute.
func (*DeleteAttributeRequest) Operation() Operation { return OperationDeleteAttribute }

// Operation is DeleteAttribute.
func (*DeleteAttributeResponse) Operation() Operation { return OperationDeleteAttribute }

// Operation is Activate.
func (*ActivateRequest) Operation() Operation { return OperationActivate }

// Operation is Activate.
func (*ActivateResponse) Operation() Operation { return OperationActivate }

// Operation is Revoke.
func (*RevokeRequest) Operation() Operation { return OperationRevoke }

// Operation is Revoke.
func (*RevokeResponse) Operation() Operation { return OperationRevoke }

// Operation is Destroy.
func (*DestroyRequest) Operation() Operation { return OperationDestroy }

// Operation is Destroy.
func (*DestroyResponse) Operation() Operation { return OperationDestroy }

// newAttribute writes the attribute that an operation sets.
func (e *enc) newAttribute(a Attribute) {
	if e.two() {
		e.attributesAs(ttlv.TagNewAttribute, []Attribute{a})
	} else {
		e.attribute(a)
	}
}

func (d *dec) newAttribute() Attribute {
	if d.two() {
		return d.one(ttlv.TagNewAttribute)
	}
	return d.attribute()
}

func (e *enc) current(a *Attribute) {
	if a != nil && e.two() {
		e.attributesAs(ttlv.TagCurrentAttribute, []Attribute{*a})
	}
}

func (d *dec) current() *Attribute {
	if !d.two() || !d.Is(ttlv.TagCurrentAttribute) {
		return nil
	}
	return new(d.one(ttlv.TagCurrentAttribute))
}

// changed writes the answer to a change of an attribute.
func (e *enc) changed(id string, a Attribute) {
	e.TextString(ttlv.TagUniqueIdentifier, id)
	if !e.two() {
		e.attribute(a)
	}
}

func (d *dec) changed() (id string, a Attribute) {
	id = d.id(ttlv.TagUniqueIdentifier)
	if !d.two() {
		a = d.attribute()
	}
	return id, a
}

func (p *AddAttributeRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.newAttribute(p.Attribute)
}

func (p *AddAttributeRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	p.Attribute = d.newAttribute()
}

func (p *AddAttributeResponse) encode(e *enc) { e.changed(p.UniqueID, p.Attribute) }
func (p *AddAttributeResponse) decode(d *dec) { p.UniqueID, p.Attribute = d.changed() }

func (p *ModifyAttributeRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.current(p.Current)
	e.newAttribute(p.Attribute)
}

func (p *ModifyAttributeRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	p.Current = d.current()
	p.Attribute = d.newAttribute()
}

func (p *ModifyAttributeResponse) encode(e *enc) { e.changed(p.UniqueID, p.Attribute) }
func (p *ModifyAttributeResponse) decode(d *dec) { p.UniqueID, p.Attribute = d.changed() }

func (p *DeleteAttributeRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.current(p.Current)
	if !e.two() || p.Name != (AttributeRef{}) {
		e.ref(p.Name)
	}
	if !e.two() {
		e.optInt(ttlv.TagAttributeIndex, p.Index)
	}
}

func (p *DeleteAttributeRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	p.Current = d.current()
	if !d.two() || p.Current == nil || d.Is(ttlv.TagAttributeReference) {
		p.Name = d.ref()
	}
	if !d.two() {
		p.Index = d.optInt(ttlv.TagAttributeIndex)
	}
}

func (p *DeleteAttributeResponse) encode(e *enc) { e.changed(p.UniqueID, p.Attribute) }
func (p *DeleteAttributeResponse) decode(d *dec) { p.UniqueID, p.Attribute = d.changed() }

func (p *ActivateRequest) encode(e *enc)  { e.optText(ttlv.TagUniqueIdentifier, p.UniqueID) }
func (p *ActivateRequest) decode(d *dec)  { p.UniqueID = d.optID(ttlv.TagUniqueIdentifier) }
func (p *ActivateResponse) encode(e *enc) { e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID) }
func (p *ActivateResponse) decode(d *dec) { p.UniqueID = d.id(ttlv.TagUniqueIdentifier) }

func (p *RevokeRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	m := e.Begin(ttlv.TagRevocationReason)
	e.Enumeration(ttlv.TagRevocationReasonCode, uint32(p.Reason))
	e.optText(ttlv.TagRevocationMessage, p.Message)
	e.End(m)
	e.optTime(ttlv.TagCompromiseOccurrenceDate, p.Compromise)
}

func (p *RevokeRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	d.Enter(ttlv.TagRevocationReason)
	p.Reason = enum[RevocationReasonCode](d, ttlv.TagRevocationReasonCode)
	p.Message = d.optText(ttlv.TagRevocationMessage)
	d.Leave()
	p.Compromise = d.optTime(ttlv.TagCompromiseOccurrenceDate)
}

func (p *RevokeResponse) encode(e *enc)  { e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID) }
func (p *RevokeResponse) decode(d *dec)  { p.UniqueID = d.id(ttlv.TagUniqueIdentifier) }
func (p *DestroyRequest) encode(e *enc)  { e.optText(ttlv.TagUniqueIdentifier, p.UniqueID) }
func (p *DestroyRequest) decode(d *dec)  { p.UniqueID = d.optID(ttlv.TagUniqueIdentifier) }
func (p *DestroyResponse) encode(e *enc) { e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID) }
func (p *DestroyResponse) decode(d *dec) { p.UniqueID = d.id(ttlv.TagUniqueIdentifier) }
