package kmip

import "allclear/kmip/ttlv"

// LocateRequest asks for the objects that have all the attributes.
type LocateRequest struct {
	MaximumItems      *int32
	OffsetItems       *int32
	StorageStatus     *int32 // a StorageStatusMask
	ObjectGroupMember ObjectGroupMember
	Attributes        []Attribute
}

// LocateResponse names the objects found.
type LocateResponse struct {
	LocatedItems *int32 // how many there are in all; often absent
	UniqueIDs    []string
}

// GetRequest asks for an object. An empty UniqueID stands for the ID placeholder.
type GetRequest struct {
	UniqueID    string
	Format      KeyFormatType
	WrapType    KeyWrapType
	Compression KeyCompressionType
	Wrapping    *KeyWrappingSpecification
}

// GetResponse is the object.
type GetResponse struct {
	UniqueID string
	Object   Object
}

// GetAttributesRequest asks for attributes of an object, all when none is named.
type GetAttributesRequest struct {
	UniqueID   string
	Attributes []AttributeRef
}

// GetAttributesResponse holds the attributes that the object has.
type GetAttributesResponse struct {
	UniqueID   string
	Attributes []Attribute
}

// GetAttributeListRequest asks which attributes an object has.
type GetAttributeListRequest struct {
	UniqueID string
}

// GetAttributeListResponse names them.
type GetAttributeListResponse struct {
	UniqueID   string
	Attributes []AttributeRef
}

// CheckRequest asks whether an object may be used so.
type CheckRequest struct {
	UniqueID         string
	UsageLimitsCount *int64
	Usage            *int32  // a CryptographicUsageMask
	LeaseTime        *uint32 // seconds
}

// CheckResponse repeats what is not allowed.
type CheckResponse struct {
	UniqueID         string // may be empty
	UsageLimitsCount *int64
	Usage            *int32
	LeaseTime        *uint32
}

// Operation is Locate.
func (*LocateRequest) Operation() Operation { return OperationLocate }

// Operation is Locate.
func (*LocateResponse) Operation() Operation { return OperationLocate }

// Operation is Get.
func (*GetRequest) Operation() Operation { return OperationGet }

// Operation is Get.
func (*GetResponse) Operation() Operation { return OperationGet }

// Operation is GetAttributes.
func (*GetAttributesRequest) Operation() Operation { return OperationGetAttributes }

// Operation is GetAttributes.
func (*GetAttributesResponse) Operation() Operation { return OperationGetAttributes }

// Operation is GetAttributeList.
func (*GetAttributeListRequest) Operation() Operation { return OperationGetAttributeList }

// Operation is GetAttributeList.
func (*GetAttributeListResponse) Operation() Operation { return OperationGetAttributeList }

// Operation is Check.
func (*CheckRequest) Operation() Operation { return OperationCheck }

// Operation is Check.
func (*CheckResponse) Operation() Operation { return OperationCheck }

func (p *LocateRequest) encode(e *enc) {
	e.optInt(ttlv.TagMaximumItems, p.MaximumItems)
	e.optInt(ttlv.TagOffsetItems, p.OffsetItems)
	e.optInt(ttlv.TagStorageStatusMask, p.StorageStatus)
	optEnum(e, ttlv.TagObjectGroupMember, p.ObjectGroupMember)
	if e.two() {
		e.attributesAs(ttlv.TagAttributes, p.Attributes)
	} else {
		e.attributes(p.Attributes)
	}
}

func (p *LocateRequest) decode(d *dec) {
	p.MaximumItems = d.optInt(ttlv.TagMaximumItems)
	p.OffsetItems = d.optInt(ttlv.TagOffsetItems)
	p.StorageStatus = d.optInt(ttlv.TagStorageStatusMask)
	p.ObjectGroupMember = optionalEnum[ObjectGroupMember](d, ttlv.TagObjectGroupMember)
	if d.two() {
		p.Attributes = d.attributesIn(ttlv.TagAttributes)
	} else {
		p.Attributes = d.attributeList()
	}
}

func (p *LocateResponse) encode(e *enc) {
	e.optInt(ttlv.TagLocatedItems, p.LocatedItems)
	e.texts(ttlv.TagUniqueIdentifier, p.UniqueIDs)
}

func (p *LocateResponse) decode(d *dec) {
	p.LocatedItems = d.optInt(ttlv.TagLocatedItems)
	for d.Is(ttlv.TagUniqueIdentifier) {
		p.UniqueIDs = append(p.UniqueIDs, d.id(ttlv.TagUniqueIdentifier))
	}
}

func (p *GetRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	optEnum(e, ttlv.TagKeyFormatType, p.Format)
	optEnum(e, ttlv.TagKeyWrapType, p.WrapType)
	optEnum(e, ttlv.TagKeyCompressionType, p.Compression)
	if w := p.Wrapping; w != nil {
		m := e.Begin(ttlv.TagKeyWrappingSpecification)
		e.Enumeration(ttlv.TagWrappingMethod, uint32(w.Method))
		e.keyInformation(ttlv.TagEncryptionKeyInformation, w.Encryption)
		e.keyInformation(ttlv.TagMACSignatureKeyInformation, w.MAC)
		e.texts(ttlv.TagAttributeName, w.AttributeNames)
		optEnum(e, ttlv.TagEncodingOption, w.Encoding)
		e.End(m)
	}
}

func (p *GetRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	p.Format = optionalEnum[KeyFormatType](d, ttlv.TagKeyFormatType)
	p.WrapType = optionalEnum[KeyWrapType](d, ttlv.TagKeyWrapType)
	p.Compression = optionalEnum[KeyCompressionType](d, ttlv.TagKeyCompressionType)
	if d.Is(ttlv.TagKeyWrappingSpecification) {
		d.Enter(ttlv.TagKeyWrappingSpecification)
		p.Wrapping = &KeyWrappingSpecification{
			Method:         enum[WrappingMethod](d, ttlv.TagWrappingMethod),
			Encryption:     d.keyInformation(ttlv.TagEncryptionKeyInformation),
			MAC:            d.keyInformation(ttlv.TagMACSignatureKeyInformation),
			AttributeNames: d.textList(ttlv.TagAttributeName),
			Encoding:       optionalEnum[EncodingOption](d, ttlv.TagEncodingOption),
		}
		d.Leave()
	}
}

func (p *GetResponse) encode(e *enc) {
	e.Enumeration(ttlv.TagObjectType, uint32(p.Object.Type))
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.object(&p.Object)
}

func (p *GetResponse) decode(d *dec) {
	t := enum[ObjectType](d, ttlv.TagObjectType)
	p.UniqueID = d.id(ttlv.TagUniqueIdentifier)
	p.Object = d.object(t)
}

func (e *enc) refs(list []AttributeRef) {
	for _, r := range list {
		e.ref(r)
	}
}

func (p *GetAttributesRequest) encode(e *enc) {
	e.optText(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.refs(p.Attributes)
}

func (p *GetAttributesRequest) decode(d *dec) {
	p.UniqueID = d.optID(ttlv.TagUniqueIdentifier)
	p.Attributes = d.refs()
}

func (p *GetAttributesResponse) encode(e *enc) {
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	if e.two() {
		e.attributesAs(ttlv.TagAttributes, p.Attributes)
	} else {
		e.attributes(p.Attributes)
	}
}

func (p *GetAttributesResponse) decode(d *dec) {
	p.UniqueID = d.id(ttlv.TagUniqueIdentifier)
	if d.two() {
		p.Attributes = d.attributesIn(ttlv.TagAttributes)
	} else {
		p.Attributes = d.attributeList()
	}
}

func (p *GetAttributeListRequest) encode(e *enc) { e.optText(ttlv.TagUniqueIdentifier, p.UniqueID) }
func (p *GetAttributeListRequest) decode(d *dec) { p.UniqueID = d.optID(ttlv.TagUniqueIdentifier) }

func (p *GetAttributeListResponse) encode(e *enc) {
	e.TextString(ttlv.TagUniqueIdentifier, p.UniqueID)
	e.refs(p.Attributes)
}

func (p *GetAttributeListResponse) decode(d *dec) {
	p.UniqueID = d.id(ttlv.TagUniqueIdentifier)
	p.Attributes = d.refs()
}

func (e *enc) use(id string, count *int64, usage *int32, lease *uint32) {
	e.optText(ttlv.TagUniqueIdentifier, id)
	e.optLong(ttlv.TagUsageLimitsCount, count)
	e.optInt(ttlv.TagCryptographicUsageMask, usage)
	e.optInterval(ttlv.TagLeaseTime, lease)
}

func (p *CheckRequest) encode(e *enc) { e.use(p.UniqueID, p.UsageLimitsCount, p.Usage, p.LeaseTime) }

func (p *CheckRequest) decode(d *dec) {
	*p = CheckRequest{
		d.optID(ttlv.TagUniqueIdentifier), d.optLong(ttlv.TagUsageLimitsCount),
		d.optInt(ttlv.TagCryptographicUsageMask), d.optInterval(ttlv.TagLeaseTime),
	}
}

func (p *CheckResponse) encode(e *enc) { e.use(p.UniqueID, p.UsageLimitsCount, p.Usage, p.LeaseTime) }

func (p *CheckResponse) decode(d *dec) {
	*p = CheckResponse{
		d.optID(ttlv.TagUniqueIdentifier), d.optLong(ttlv.TagUsageLimitsCount),
		d.optInt(ttlv.TagCryptographicUsageMask), d.optInterval(ttlv.TagLeaseTime),
	}
}
