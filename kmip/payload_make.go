package kmip

import "allclear/kmip/ttlv"

// CreateRequest asks for a new symmetric key.
type CreateRequest struct {
	ObjectType ObjectType
	Template   *Template // must be set
	Protection []ProtectionStorageMask
}

// CreateResponse names the new object.
type CreateResponse struct {
	ObjectType ObjectType
	UniqueID   string
	Template   *Template // KMIP 1.x: what the server decided itself
}

// CreateKeyPairRequest asks for a private and a public key.
type CreateKeyPairRequest struct {
	Common, Private, Public                               *Template
	CommonProtection, PrivateProtection, PublicProtection []ProtectionStorageMask
}

// CreateKeyPairResponse names the new objects.
type CreateKeyPairResponse struct {
	PrivateID, PublicID string
	Private, Public     *Template // KMIP 1.x
}

// RegisterRequest hands an object to the server.
type RegisterRequest struct {
	Template   *Template // must be set
	Object     Object
	Protection []ProtectionStorageMask
}

// RegisterResponse names the object.
type RegisterResponse struct {
	UniqueID string
	Template *Template // KMIP 1.x
}

// ReKeyRequest asks for a key that replaces another.
type ReKeyRequest struct {
	UniqueID   string
	Offset     *uint32 // seconds between initial and activation date
	Template   *Template
	Protection []ProtectionStorageMask
}

// ReKeyResponse names the new key.
type ReKeyResponse struct {
	UniqueID string
	Template *Template // KMIP 1.x
}

// Operation is Create.
func (*CreateRequest) Operation() Operation { return OperationCreate }

// Operation is Create.
func (*CreateResponse) Operation() Operation { return OperationCreate }

// Operation is CreateKeyPair.
func (*CreateKeyPairRequest) Operation() Operation { return OperationCreateKeyPair }

// Operation is CreateKeyPair.
func (*CreateKeyPairResponse) Operation() Operation { return OperationCreateKeyPair }

// Operation is Register.
func (*RegisterRequest) Operation() Operation { return OperationRegister }

// Operation is Register.
func (*RegisterResponse) Operation() Operation { return OperationRegister }

// Operation is ReKey.
func (*ReKeyRequest) Operation() Operation { return OperationReKey }

// Operation is ReKey.
func (*ReKeyResponse) Operation() Operation { return OperationReKey }

// always writes a template, an empty one for nil.
func (e *enc) always(t *Template) {
	if t == nil {
		t = &Template{}
	}
	e.template(ttlv.TagTemplateAttribute, ttlv.TagAttributes, t)
}

// answered writes a template that only KMIP 1.x has in answers.
func (e *enc) answered(tag ttlv.Tag, t *Template) {
	if !e.two() {
		e.template(tag, tag, t)
	}
}

func (d *dec) answered(tag ttlv.Tag) *Template {
	if d.two() {
		return nil
	}
	return d.template(tag, tag)
}

func (p *CreateRequest) encode(e *enc) {
	e.Enumeration(ttlv.TagObjectType, uint32(p.ObjectType))
	e.always(p.Template)
	e.protection(ttlv.TagProtectionStorageMasks, p.Protection)
}

func (p *CreateRequest) decode(d *dec) {
	p.ObjectType = enum[ObjectType](d, ttlv.TagObjectType)
	p.Template = d.required()
	p.Protection = d.protection(ttlv.TagProtectionStorageMasks)
}

func (p *CreateResponse) encode(e *enc) {
	e.Enumeration(ttlv.TagObjectType, uint32(p.ObjectType))
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.answered(ttlv.TagTemplateAttribute, p.Template)
}

func (p *CreateResponse) decode(d *dec) {
	p.ObjectType = enum[ObjectType](d, ttlv.TagObjectType)
	p.UniqueID = d.id(ttlv.TagUniqueIdentifier)
	p.Template = d.answered(ttlv.TagTemplateAttribute)
}

func (p *CreateKeyPairRequest) encode(e *enc) {
	e.template(ttlv.TagCommonTemplateAttribute, ttlv.TagCommonAttributes, p.Common)
	e.template(ttlv.TagPrivateKeyTemplateAttribute, ttlv.TagPrivateKeyAttributes, p.Private)
	e.template(ttlv.TagPublicKeyTemplateAttribute, ttlv.TagPublicKeyAttributes, p.Public)
	e.protection(ttlv.TagCommonProtectionStorageMasks, p.CommonProtection)
	e.protection(ttlv.TagPrivateProtectionStorageMasks, p.PrivateProtection)
	e.protection(ttlv.TagPublicProtectionStorageMasks, p.PublicProtection)
}

func (p *CreateKeyPairRequest) decode(d *dec) {
	p.Common = d.template(ttlv.TagCommonTemplateAttribute, ttlv.TagCommonAttributes)
	p.Private = d.template(ttlv.TagPrivateKeyTemplateAttribute, ttlv.TagPrivateKeyAttributes)
	p.Public = d.template(ttlv.TagPublicKeyTemplateAttribute, ttlv.TagPublicKeyAttributes)
	p.CommonProtection = d.protection(ttlv.TagCommonProtectionStorageMasks)
	p.PrivateProtection = d.protection(ttlv.TagPrivateProtectionStorageMasks)
	p.PublicProtection = d.protection(ttlv.TagPublicProtectionStorageMasks)
}

func (p *CreateKeyPairResponse) encode(e *enc) {
	e.TextString(ttlv.TagPrivateKeyUniqueIdentifier, p.PrivateID)
	e.TextString(ttlv.TagPublicKeyUniqueIdentifier, p.PublicID)
	e.answered(ttlv.TagPrivateKeyTemplateAttribute, p.Private)
	e.answered(ttlv.TagPublicKeyTemplateAttribute, p.Public)
}

func (p *CreateKeyPairResponse) decode(d *dec) {
	p.PrivateID = d.id(ttlv.TagPrivateKeyUniqueIdentifier)
	p.PublicID = d.id(ttlv.TagPublicKeyUniqueIdentifier)
	p.Private = d.answered(ttlv.TagPrivateKeyTemplateAttribute)
	p.Public = d.answered(ttlv.TagPublicKeyTemplateAttribute)
}

func (p *RegisterRequest) encode(e *enc) {
	e.Enumeration(ttlv.TagObjectType, uint32(p.Object.Type))
	e.always(p.Template)
	e.object(&p.Object)
	e.protection(ttlv.TagProtectionStorageMasks, p.Protection)
}

func (p *RegisterRequest) decode(d *dec) {
	t := enum[ObjectType](d, ttlv.TagObjectType)
	p.Template = d.required()
	p.Object = d.object(t)
	p.Protection = d.protection(ttlv.TagProtectionStorageMasks)
}

func (p *RegisterResponse) encode(e *enc) {
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.answered(ttlv.TagTemplateAttribute, p.Template)
}

func (p *RegisterResponse) decode(d *dec) {
	p.UniqueID = d.id(ttlv.TagUniqueIdentifier)
	p.Template = d.answered(ttlv.TagTemplateAttribute)
}

func (p *ReKeyRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.optInterval(ttlv.TagOffset, p.Offset)
	e.template(ttlv.TagTemplateAttribute, ttlv.TagAttributes, p.Template)
	e.protection(ttlv.TagProtectionStorageMasks, p.Protection)
}

func (p *ReKeyRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	p.Offset = d.optInterval(ttlv.TagOffset)
	p.Template = d.template(ttlv.TagTemplateAttribute, ttlv.TagAttributes)
	p.Protection = d.protection(ttlv.TagProtectionStorageMasks)
}

func (p *ReKeyResponse) encode(e *enc) {
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.answered(ttlv.TagTemplateAttribute, p.Template)
}

func (p *ReKeyResponse) decode(d *dec) {
	p.UniqueID = d.id(ttlv.TagUniqueIdentifier)
	p.Template = d.answered(ttlv.TagTemplateAttribute)
}
