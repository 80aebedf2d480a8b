package kmip

import "allclear/kmip/ttlv"

// Payload is what an operation is asked with or answers: a pointer to one of the Request
// and Response structs of this package, or a [*RawPayload].
type Payload interface {
	// Operation tells whose payload it is.
	Operation() Operation

	encode(e *enc)
	decode(d *dec) // reads all items of the payload; a fault stays in d
}

// RawPayload is the payload of an operation that this package has no struct for.
type RawPayload struct {
	Op    Operation
	Items []byte // encoded
}

// Operation is what the message said.
func (p *RawPayload) Operation() Operation { return p.Op }

func (p *RawPayload) encode(e *enc) { e.Raw(p.Items) }
func (p *RawPayload) decode(d *dec) { p.Items = d.Rest() }

// newRequest makes an empty request payload of the operation.
func newRequest(op Operation) Payload {
	switch op {
	case OperationCreate:
		return new(CreateRequest)
	case OperationCreateKeyPair:
		return new(CreateKeyPairRequest)
	case OperationRegister:
		return new(RegisterRequest)
	case OperationReKey:
		return new(ReKeyRequest)
	case OperationLocate:
		return new(LocateRequest)
	case OperationCheck:
		return new(CheckRequest)
	case OperationGet:
		return new(GetRequest)
	case OperationGetAttributes:
		return new(GetAttributesRequest)
	case OperationGetAttributeList:
		return new(GetAttributeListRequest)
	case OperationAddAttribute:
		return new(AddAttributeRequest)
	case OperationModifyAttribute:
		return new(ModifyAttributeRequest)
	case OperationDeleteAttribute:
		return new(DeleteAttributeRequest)
	case OperationActivate:
		return new(ActivateRequest)
	case OperationRevoke:
		return new(RevokeRequest)
	case OperationDestroy:
		return new(DestroyRequest)
	case OperationQuery:
		return new(QueryRequest)
	case OperationDiscoverVersions:
		return new(DiscoverVersionsRequest)
	case OperationEncrypt:
		return new(EncryptRequest)
	case OperationDecrypt:
		return new(DecryptRequest)
	}
	return &RawPayload{Op: op}
}

// newResponse makes an empty response payload of the operation.
func newResponse(op Operation) Payload {
	switch op {
	case OperationCreate:
		return new(CreateResponse)
	case OperationCreateKeyPair:
		return new(CreateKeyPairResponse)
	case OperationRegister:
		return new(RegisterResponse)
	case OperationReKey:
		return new(ReKeyResponse)
	case OperationLocate:
		return new(LocateResponse)
	case OperationCheck:
		return new(CheckResponse)
	case OperationGet:
		return new(GetResponse)
	case OperationGetAttributes:
		return new(GetAttributesResponse)
	case OperationGetAttributeList:
		return new(GetAttributeListResponse)
	case OperationAddAttribute:
		return new(AddAttributeResponse)
	case OperationModifyAttribute:
		return new(ModifyAttributeResponse)
	case OperationDeleteAttribute:
		return new(DeleteAttributeResponse)
	case OperationActivate:
		return new(ActivateResponse)
	case OperationRevoke:
		return new(RevokeResponse)
	case OperationDestroy:
		return new(DestroyResponse)
	case OperationQuery:
		return new(QueryResponse)
	case OperationDiscoverVersions:
		return new(DiscoverVersionsResponse)
	case OperationEncrypt:
		return new(EncryptResponse)
	case OperationDecrypt:
		return new(DecryptResponse)
	}
	return &RawPayload{Op: op}
}

// protection writes the Protection Storage Masks of KMIP 2.1; the masks are in falling preference.
func (e *enc) protection(t ttlv.Tag, masks []ProtectionStorageMask) {
	if masks == nil || !e.two() {
		return
	}
	m := e.Begin(t)
	for _, v := range masks {
		e.Integer(ttlv.TagProtectionStorageMask, int32(v))
	}
	e.End(m)
}

func (d *dec) protection(t ttlv.Tag) []ProtectionStorageMask {
	if !d.two() || !d.Is(t) {
		return nil
	}
	masks := []ProtectionStorageMask{}
	d.Enter(t)
	for d.Is(ttlv.TagProtectionStorageMask) {
		masks = append(masks, ProtectionStorageMask(d.Integer(ttlv.TagProtectionStorageMask)))
	}
	d.Leave()
	return masks
}
