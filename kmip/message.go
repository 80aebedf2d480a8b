package kmip

import (
	"fmt"
	"time"

	"allclear/kmip/ttlv"
)

// MaxBatch is the most operations in one message.
const MaxBatch = 256

// Request is a request message.
type Request struct {
	Header RequestHeader
	Items  []RequestItem // their number is the batch count
}

// RequestHeader is the header of a request (KMIP 2.1 section 8.2). What is zero or nil is absent.
type RequestHeader struct {
	Version              Version
	MaximumResponseSize  *int32 // bytes
	ClientCorrelation    string
	ServerCorrelation    string
	Asynchronous         AsynchronousIndicator // in KMIP 1.x true is Optional and false is Prohibited
	AttestationCapable   *bool
	AttestationTypes     []AttestationType
	Credentials          []Credential
	BatchErrorContinue   BatchErrorContinuationOption
	BatchOrder           *bool
	TimeStamp            time.Time // servers refuse a wrong one: the client of this package sends none
	authenticationHeader bool      // an empty Authentication was there
}

// Credential proves who asks, beside the certificate. Its value is a structure and may be secret.
type Credential struct {
	Type  CredentialType
	Value ttlv.Value
}

// RequestItem is one operation of a request.
type RequestItem struct {
	Ephemeral  *bool  // KMIP 2.1
	ID         []byte // Unique Batch Item ID; needed when there are several items
	Payload    Payload
	Operation  Operation // of the payload; Encode takes it from there
	Extensions []MessageExtension
	Err        error // set by Decode when the payload is not what the operation has; Payload is nil then
}

// MessageExtension is an addition of a vendor.
type MessageExtension struct {
	Vendor   string
	Critical bool
	Value    ttlv.Value // a structure
}

// Response is a response message.
type Response struct {
	Header ResponseHeader
	Items  []ResponseItem
}

// ResponseHeader is the header of a response (KMIP 2.1 section 8.4).
type ResponseHeader struct {
	Version           Version
	TimeStamp         time.Time // must be set
	Nonce             ttlv.Value
	HashedPassword    []byte // KMIP 2.1
	AttestationTypes  []AttestationType
	ClientCorrelation string
	ServerCorrelation string
}

// ResponseItem is the result of one operation.
type ResponseItem struct {
	Operation    Operation // 0: the server could not tell
	ID           []byte
	Status       ResultStatus
	Reason       ResultReason
	Message      string
	Asynchronous []byte // Asynchronous Correlation Value
	Payload      Payload
	Extensions   []MessageExtension
	Err          error // as in RequestItem
}

// Encode answers the message in the form of its header's version.
func (r *Request) Encode() []byte { return r.Append(make([]byte, 0, 512)) }

// Append appends to b what Encode answers.
func (r *Request) Append(b []byte) []byte {
	e := enc{v: r.Header.Version}
	e.Use(b)
	r.encode(&e)
	return e.Bytes()
}

func (r *Request) encode(e *enc) {
	m := e.Begin(ttlv.TagRequestMessage)
	h := e.Begin(ttlv.TagRequestHeader)
	r.Header.encode(e)
	e.Integer(ttlv.TagBatchCount, int32(len(r.Items)))
	e.End(h)
	for i := range r.Items {
		it := &r.Items[i]
		b := e.Begin(ttlv.TagBatchItem)
		op := it.Operation
		if it.Payload != nil {
			op = it.Payload.Operation()
		}
		e.Enumeration(ttlv.TagOperation, uint32(op))
		e.optBool(ttlv.TagEphemeral, it.Ephemeral)
		e.optBytes(ttlv.TagUniqueBatchItemID, it.ID)
		p := e.Begin(ttlv.TagRequestPayload)
		if it.Payload != nil {
			it.Payload.encode(e)
		}
		e.End(p)
		e.extensions(it.Extensions)
		e.End(b)
	}
	e.End(m)
}

func (h *RequestHeader) encode(e *enc) {
	e.version(h.Version)
	e.optInt(ttlv.TagMaximumResponseSize, h.MaximumResponseSize)
	e.optText(ttlv.TagClientCorrelationValue, h.ClientCorrelation)
	e.optText(ttlv.TagServerCorrelationValue, h.ServerCorrelation)
	switch {
	case e.two():
		optEnum(e, ttlv.TagAsynchronousIndicator, h.Asynchronous)
	case h.Asynchronous != 0:
		e.Boolean(ttlv.TagAsynchronousIndicator, h.Asynchronous != AsynchronousIndicatorProhibited)
	}
	e.optBool(ttlv.TagAttestationCapableIndicator, h.AttestationCapable)
	enums(e, ttlv.TagAttestationType, h.AttestationTypes)
	if len(h.Credentials) > 0 || h.authenticationHeader {
		m := e.Begin(ttlv.TagAuthentication)
		for _, c := range h.Credentials {
			n := e.Begin(ttlv.TagCredential)
			e.Enumeration(ttlv.TagCredentialType, uint32(c.Type))
			e.optValue(ttlv.TagCredentialValue, c.Value)
			e.End(n)
		}
		e.End(m)
	}
	optEnum(e, ttlv.TagBatchErrorContinuationOption, h.BatchErrorContinue)
	e.optBool(ttlv.TagBatchOrderOption, h.BatchOrder)
	e.optTime(ttlv.TagTimeStamp, h.TimeStamp)
}

// Decode reads a message, whose byte strings stay in b. When the header's version can
// be read it is set even if the rest cannot, so that a server can answer in it. An error is
// a *ttlv.Error and concerns the whole message; an item whose payload alone is wrong has Err.
func (r *Request) Decode(b []byte) error {
	*r = Request{}
	if err := ttlv.Check(b); err != nil {
		return err
	}
	var ds decoders
	d, payload := &ds.message, &ds.payload
	d.Reset(b)
	d.Enter(ttlv.TagRequestMessage)
	d.Enter(ttlv.TagRequestHeader)
	r.Header.decode(d)
	count := d.Integer(ttlv.TagBatchCount)
	d.Leave()
	n := d.batch(count)
	payload.v = d.v
	for i := 0; i < n && d.Err() == nil; i++ {
		d.Enter(ttlv.TagBatchItem)
		it := RequestItem{Operation: enum[Operation](d, ttlv.TagOperation)}
		it.Ephemeral = d.optBool(ttlv.TagEphemeral)
		it.ID = d.optBytes(ttlv.TagUniqueBatchItemID)
		it.Payload, it.Err = d.payload(ttlv.TagRequestPayload, newRequest(it.Operation), payload)
		it.Extensions = d.extensions()
		d.Leave()
		if r.Items == nil {
			r.Items = make([]RequestItem, 0, n)
		}
		r.Items = append(r.Items, it)
	}
	d.Leave()
	return d.Err()
}

func (h *RequestHeader) decode(d *dec) {
	h.Version = d.version()
	d.v = h.Version
	h.MaximumResponseSize = d.optInt(ttlv.TagMaximumResponseSize)
	h.ClientCorrelation = d.optText(ttlv.TagClientCorrelationValue)
	h.ServerCorrelation = d.optText(ttlv.TagServerCorrelationValue)
	switch {
	case !d.Is(ttlv.TagAsynchronousIndicator):
	case d.two():
		h.Asynchronous = enum[AsynchronousIndicator](d, ttlv.TagAsynchronousIndicator)
	case d.Boolean(ttlv.TagAsynchronousIndicator):
		h.Asynchronous = AsynchronousIndicatorOptional
	default:
		h.Asynchronous = AsynchronousIndicatorProhibited
	}
	h.AttestationCapable = d.optBool(ttlv.TagAttestationCapableIndicator)
	h.AttestationTypes = enumList[AttestationType](d, ttlv.TagAttestationType)
	if d.Is(ttlv.TagAuthentication) {
		d.Enter(ttlv.TagAuthentication)
		for d.Is(ttlv.TagCredential) {
			d.Enter(ttlv.TagCredential)
			h.Credentials = append(h.Credentials, Credential{
				enum[CredentialType](d, ttlv.TagCredentialType), d.structure(ttlv.TagCredentialValue),
			})
			d.Leave()
		}
		d.Leave()
		h.authenticationHeader = true
	}
	h.BatchErrorContinue = optionalEnum[BatchErrorContinuationOption](d, ttlv.TagBatchErrorContinuationOption)
	h.BatchOrder = d.optBool(ttlv.TagBatchOrderOption)
	h.TimeStamp = d.optTime(ttlv.TagTimeStamp)
}

// batch checks a batch count against what can follow.
func (d *dec) batch(count int32) int {
	if d.Err() == nil && (count < 0 || count > MaxBatch || int(count) > d.Left()/8) {
		d.Fail(fmt.Sprintf("batch count %d with %d bytes of items, at most %d items", count, d.Left(), MaxBatch))
		return 0
	}
	return int(count)
}

// payload reads the payload of an item with a decoder of its own, so that a payload
// that is well-formed but wrong spoils only its item.
func (d *dec) payload(t ttlv.Tag, p Payload, sub *dec) (Payload, error) {
	d.Within(t, &sub.Decoder)
	if d.Err() != nil {
		return nil, nil
	}
	p.decode(sub)
	sub.Leave()
	if err := sub.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

func (e *enc) extensions(list []MessageExtension) {
	for _, x := range list {
		m := e.Begin(ttlv.TagMessageExtension)
		e.TextString(ttlv.TagVendorIdentification, x.Vendor)
		e.Boolean(ttlv.TagCriticalityIndicator, x.Critical)
		e.optValue(ttlv.TagVendorExtension, x.Value)
		e.End(m)
	}
}

func (d *dec) extensions() []MessageExtension {
	var list []MessageExtension
	for d.Is(ttlv.TagMessageExtension) {
		d.Enter(ttlv.TagMessageExtension)
		list = append(list, MessageExtension{
			d.TextString(ttlv.TagVendorIdentification), d.Boolean(ttlv.TagCriticalityIndicator),
			d.structure(ttlv.TagVendorExtension),
		})
		d.Leave()
	}
	return list
}

// Encode answers the message in the form of its header's version.
func (r *Response) Encode() []byte { return r.Append(make([]byte, 0, 512)) }

// Append appends to b what Encode answers.
func (r *Response) Append(b []byte) []byte {
	e := enc{v: r.Header.Version}
	e.Use(b)
	r.encode(&e)
	return e.Bytes()
}

func (r *Response) encode(e *enc) {
	m := e.Begin(ttlv.TagResponseMessage)
	h := e.Begin(ttlv.TagResponseHeader)
	r.Header.encode(e)
	e.Integer(ttlv.TagBatchCount, int32(len(r.Items)))
	e.End(h)
	for i := range r.Items {
		it := &r.Items[i]
		b := e.Begin(ttlv.TagBatchItem)
		optEnum(e, ttlv.TagOperation, it.Operation)
		e.optBytes(ttlv.TagUniqueBatchItemID, it.ID)
		e.Enumeration(ttlv.TagResultStatus, uint32(it.Status))
		optEnum(e, ttlv.TagResultReason, it.Reason)
		e.optText(ttlv.TagResultMessage, it.Message)
		e.optBytes(ttlv.TagAsynchronousCorrelationValue, it.Asynchronous)
		if it.Payload != nil {
			p := e.Begin(ttlv.TagResponsePayload)
			it.Payload.encode(e)
			e.End(p)
		}
		e.extensions(it.Extensions)
		e.End(b)
	}
	e.End(m)
}

func (h *ResponseHeader) encode(e *enc) {
	e.version(h.Version)
	e.DateTime(ttlv.TagTimeStamp, h.TimeStamp)
	e.optValue(ttlv.TagNonce, h.Nonce)
	e.optBytes(ttlv.TagServerHashedPassword, h.HashedPassword)
	enums(e, ttlv.TagAttestationType, h.AttestationTypes)
	e.optText(ttlv.TagClientCorrelationValue, h.ClientCorrelation)
	e.optText(ttlv.TagServerCorrelationValue, h.ServerCorrelation)
}

// Decode reads a message like [Request.Decode].
func (r *Response) Decode(b []byte) error {
	var d decoders
	return r.decode(b, &d)
}

// decoders are what a message is read with; a client keeps them.
type decoders struct{ message, payload dec }

// reset lets go of the message.
func (ds *decoders) reset() {
	ds.message.Reset(nil)
	ds.payload.Reset(nil)
}

func (r *Response) decode(b []byte, ds *decoders) error {
	*r = Response{}
	if err := ttlv.Check(b); err != nil {
		return err
	}
	d := &ds.message
	d.Reset(b)
	d.Enter(ttlv.TagResponseMessage)
	d.Enter(ttlv.TagResponseHeader)
	r.Header.decode(d)
	count := d.Integer(ttlv.TagBatchCount)
	d.Leave()
	n := d.batch(count)
	ds.payload.v = d.v
	for i := 0; i < n && d.Err() == nil; i++ {
		if r.Items == nil {
			r.Items = make([]ResponseItem, 0, n)
		}
		r.Items = append(r.Items, ResponseItem{})
		r.Items[i].decode(d, &ds.payload)
	}
	d.Leave()
	return d.Err()
}

func (it *ResponseItem) decode(d, payload *dec) {
	d.Enter(ttlv.TagBatchItem)
	it.Operation = optionalEnum[Operation](d, ttlv.TagOperation)
	it.ID = d.optBytes(ttlv.TagUniqueBatchItemID)
	it.Status = enum[ResultStatus](d, ttlv.TagResultStatus)
	it.Reason = optionalEnum[ResultReason](d, ttlv.TagResultReason)
	it.Message = d.optText(ttlv.TagResultMessage)
	it.Asynchronous = d.optBytes(ttlv.TagAsynchronousCorrelationValue)
	if d.Is(ttlv.TagResponsePayload) {
		it.Payload, it.Err = d.payload(ttlv.TagResponsePayload, newResponse(it.Operation), payload)
	}
	it.Extensions = d.extensions()
	d.Leave()
}

func (h *ResponseHeader) decode(d *dec) {
	h.Version = d.version()
	d.v = h.Version
	if h.TimeStamp = d.optTime(ttlv.TagTimeStamp); h.TimeStamp.IsZero() {
		d.Fail("Time Stamp is missing")
	}
	h.Nonce = d.optValue(ttlv.TagNonce)
	h.HashedPassword = d.optBytes(ttlv.TagServerHashedPassword)
	h.AttestationTypes = enumList[AttestationType](d, ttlv.TagAttestationType)
	h.ClientCorrelation = d.optText(ttlv.TagClientCorrelationValue)
	h.ServerCorrelation = d.optText(ttlv.TagServerCorrelationValue)
}
