package kmiptest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// version is the protocol version of a request.
type version = kmip.Version

// allVersions lists what the server speaks, highest first.
func allVersions() []version {
	return []version{kmip.V2_1, kmip.V2_0, kmip.V1_4, kmip.V1_3, kmip.V1_2, kmip.V1_1, kmip.V1_0}
}

// reason is short for what the operations answer with most.
type reason = kmip.ResultReason

const (
	reasonItemNotFound       = kmip.ResultReasonItemNotFound
	reasonInvalidMessage     = kmip.ResultReasonInvalidMessage
	reasonInvalidField       = kmip.ResultReasonInvalidField
	reasonPermissionDenied   = kmip.ResultReasonPermissionDenied
	reasonIllegalOperation   = kmip.ResultReasonIllegalOperation
	reasonFeature            = kmip.ResultReasonFeatureNotSupported
	reasonCryptographic      = kmip.ResultReasonCryptographicFailure
	reasonGeneral            = kmip.ResultReasonGeneralFailure
	reasonIndexOutOfBounds   = kmip.ResultReasonIndexOutOfBounds
	reasonObjectArchived     = kmip.ResultReasonObjectArchived
	reasonKeyFormat          = kmip.ResultReasonKeyFormatTypeNotSupported
	reasonMissingData        = kmip.ResultReasonMissingData
	reasonOperationUnknown   = kmip.ResultReasonOperationNotSupported
	reasonAuthentication     = kmip.ResultReasonAuthenticationNotSuccessful
	reasonTooLarge           = kmip.ResultReasonResponseTooLarge
	reasonVersionUnsupported = kmip.ResultReasonUnsupportedProtocolVersion
	reasonNameTaken          = kmip.ResultReasonNonUniqueNameAttribute
	reasonWrongState         = kmip.ResultReasonWrongKeyLifecycleState
	reasonUsageMask          = kmip.ResultReasonIncompatibleCryptographicUsageMask
	reasonReadOnly           = kmip.ResultReasonAttributeReadOnly
	reasonExists             = kmip.ResultReasonAttributeSingleValued
	reasonNoAttribute        = kmip.ResultReasonAttributeNotFound
	reasonNoInstance         = kmip.ResultReasonAttributeInstanceNotFound
)

// refusal is an operation that failed, as the client is told.
type refusal struct {
	reason  reason
	message string
	status  kmip.ResultStatus // OperationFailed when zero
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s", r.reason, r.message) }

func refusef(r reason, format string, args ...any) error {
	return &refusal{reason: r, message: fmt.Sprintf(format, args...)}
}

// client is who is at the other end of a connection.
type client struct {
	name string          // common name of the certificate, "" without one
	head [headerLen]byte // of the message being read
	out  []byte          // room for the next answer
}

// keptAnswer is how much room for answers a connection keeps.
const keptAnswer = 64 << 10

// exchange is the handling of one request message.
type exchange struct {
	s       *Server
	st      *store
	o       *Options // never changed
	client  *client
	version version
	now     time.Time
	op      kmip.Operation // of the batch item at work
	holder  string         // the ID placeholder (KMIP 1.4 section 1.1.1)
	fault   *Fault         // Refuse, Missing or WrongKey, or nil
	undo    []func() error // how to take back what this message changed, the last change last
	one     [1]result      // room for what most messages need
}

// result is what became of a batch item.
type result struct {
	item    *item   // of the request; nil when that was not understood
	payload []*item // of the answer to a success
	reason  reason  // of a failure, 0 for success
	status  kmip.ResultStatus
	message string
}

// put stores objects and notes how to take that back.
func (x *exchange) put(objects ...*object) error {
	before := make([]*object, len(objects))
	for i, o := range objects {
		before[i] = x.st.get(o.id)
	}
	if err := x.st.put(objects...); err != nil {
		return err
	}
	for i, o := range objects {
		x.undo = append(x.undo, func() error { return x.st.revert(o.id, before[i]) })
	}
	return nil
}

// change changes one stored object and notes how to take that back.
func (x *exchange) change(id string, f func(*object) error) error {
	before := x.st.get(id)
	err := x.st.change(id, f)
	if err == nil {
		x.undo = append(x.undo, func() error { return x.st.revert(id, before) })
	}
	return err
}

// reply answers one request; its error ends the connection.
func (s *Server) reply(conn net.Conn, req []byte, c *client, down <-chan struct{}) error {
	msg, err := parse(req)
	op := firstOperation(msg)
	s.count(msg)
	if f := s.take(beforeDoing, op); f != nil {
		switch f.Kind {
		case Slow:
			if !wait(f.Delay, down) {
				return net.ErrClosed
			}
		case Stall:
			wait(0, down)
			return net.ErrClosed
		default:
			return errInjected
		}
	}
	answer := s.answer(msg, err, c, s.take(whileDoing, op))
	if f := s.take(afterDoing, op); f != nil {
		spoilt, err := parse(answer)
		if err != nil {
			return err
		}
		return s.spoil(conn, spoilt, msg, f, down)
	}
	if err := s.send(conn, answer); err != nil {
		return err
	}
	if cap(c.out) > keptAnswer {
		c.out = nil
	}
	return nil
}

// errInjected ends a connection because a fault says so.
var errInjected = errors.New("a fault was asked for")

// Answer answers one request message as the holder of a certificate with this common name would get it, without a
// connection and without faults. Bytes that are no request are answered too.
func (s *Server) Answer(req []byte, commonName string) []byte {
	msg, err := parse(slices.Clone(req))
	return s.answer(msg, err, &client{name: commonName}, nil)
}

func firstOperation(msg *item) string {
	if op := msg.at(ttlv.TagBatchItem, ttlv.TagOperation); op != nil {
		return ttlv.TagOperation.ValueID(op.enum())
	}
	return ""
}

func (s *Server) count(msg *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Requests++
	if msg == nil {
		return
	}
	for _, b := range msg.kids {
		if op := b.kid(ttlv.TagOperation); op != nil && len(s.seen.Operations) < 256 {
			s.seen.Operations[ttlv.TagOperation.ValueID(op.enum())]++
		}
	}
}

// answer makes the response message to a request message that was parsed, or not. Its bytes lie in the client's room.
func (s *Server) answer(msg *item, err error, c *client, f *Fault) []byte {
	o := s.options()
	x := &exchange{s: s, st: s.store, o: o, client: c, now: o.Now(), version: slices.Max(o.Versions), fault: f}
	if err != nil {
		return x.encode(append(x.one[:0], x.failure(nil, refusef(reasonInvalidMessage, "%v", err))))
	}
	x.st.catchUp(x.now)
	head, err := x.head(msg)
	if err != nil {
		return x.encode(append(x.one[:0], x.failure(nil, err)))
	}
	out := x.encode(x.batch(msg, head))
	limit := x.s.limit.Message
	if it := head.kid(ttlv.TagMaximumResponseSize); it != nil {
		limit = min(limit, int(it.integer()))
	}
	if len(out) > limit {
		return x.encode(x.tooLarge(msg, len(out), limit))
	}
	return out
}

// tooLarge answers for each item that its answer is not sent. What it did stays done.
func (x *exchange) tooLarge(msg *item, size, limit int) []result {
	var out []result
	for _, b := range msg.all(ttlv.TagBatchItem) {
		out = append(out, x.failure(b, refusef(reasonTooLarge, "the answer has %d bytes, at most %d are wanted", size, limit)))
	}
	return out
}

func readVersion(it *item) version {
	major, minor := it.kid(ttlv.TagProtocolVersionMajor).integer(), it.kid(ttlv.TagProtocolVersionMinor).integer()
	if major < 0 || major > 0xFFFF || minor < 0 || minor > 0xFFFF {
		return 0
	}
	return version(uint32(major)<<16 | uint32(minor))
}

func writeVersion(v version) *item {
	return structure(ttlv.TagProtocolVersion,
		integer(ttlv.TagProtocolVersionMajor, int32(v.Major())), integer(ttlv.TagProtocolVersionMinor, int32(v.Minor())))
}

// maxClockSkew is how far from the server's time a request's time stamp may be.
const maxClockSkew = time.Minute

// head checks the message around the batch items.
func (x *exchange) head(msg *item) (*item, error) {
	if msg.tag != ttlv.TagRequestMessage {
		return nil, refusef(reasonInvalidMessage, "%s instead of a request message", msg.tag)
	}
	h := msg.kid(ttlv.TagRequestHeader)
	pv := h.kid(ttlv.TagProtocolVersion)
	if pv == nil || len(msg.kids) == 0 || msg.kids[0] != h {
		return nil, refusef(reasonInvalidMessage, "a request begins with its header and protocol version")
	}
	v := readVersion(pv)
	if !slices.Contains(x.o.Versions, v) {
		return nil, refusef(reasonVersionUnsupported, "KMIP %s is not supported", v)
	}
	x.version = v
	count := h.kid(ttlv.TagBatchCount)
	switch items := msg.count(ttlv.TagBatchItem); {
	case count == nil || int(count.integer()) != items || items != len(msg.kids)-1:
		return nil, refusef(reasonInvalidMessage, "the batch count is not the number of batch items")
	case items == 0 || items > x.s.limit.Batch:
		return nil, refusef(reasonInvalidMessage, "%d batch items, from 1 to %d are taken", items, x.s.limit.Batch)
	}
	if ts := h.kid(ttlv.TagTimeStamp); ts != nil {
		if d := ts.time().Sub(x.clock()).Abs(); d > maxClockSkew {
			return nil, refusef(reasonInvalidMessage, "the time stamp is %s away from the server's clock", d.Round(time.Second))
		}
	}
	if x.o.Permission(x.client.name) == Denied {
		return nil, refusef(reasonAuthentication, "the client %q is not accepted", x.client.name)
	}
	return h, nil
}

// clock is the time that the server tells.
func (x *exchange) clock() time.Time { return x.now.Add(x.o.ClockOffset) }

// encode puts results into a response message.
func (x *exchange) encode(results []result) []byte {
	var e ttlv.Encoder
	e.Use(x.client.out[:0])
	message := e.Begin(ttlv.TagResponseMessage)
	head := e.Begin(ttlv.TagResponseHeader)
	v := e.Begin(ttlv.TagProtocolVersion)
	e.Integer(ttlv.TagProtocolVersionMajor, int32(x.version.Major()))
	e.Integer(ttlv.TagProtocolVersionMinor, int32(x.version.Minor()))
	e.End(v)
	e.DateTime(ttlv.TagTimeStamp, x.clock())
	e.Integer(ttlv.TagBatchCount, int32(len(results)))
	e.End(head)
	for i := range results {
		results[i].encode(&e)
	}
	e.End(message)
	x.client.out = e.Bytes()
	return x.client.out
}

func (r *result) encode(e *ttlv.Encoder) {
	at := e.Begin(ttlv.TagBatchItem)
	for _, t := range [...]ttlv.Tag{ttlv.TagOperation, ttlv.TagUniqueBatchItemID} {
		if it := r.item.kid(t); it != nil {
			it.encode(e)
		}
	}
	e.Enumeration(ttlv.TagResultStatus, uint32(r.status))
	if r.status != kmip.ResultStatusSuccess {
		e.Enumeration(ttlv.TagResultReason, uint32(r.reason))
		e.TextString(ttlv.TagResultMessage, r.message)
	} else {
		payload := e.Begin(ttlv.TagResponsePayload)
		for _, it := range r.payload {
			it.encode(e)
		}
		e.End(payload)
	}
	e.End(at)
}

// batch works through the items in their order. After a failure the rest is left out; the client may want to go on, or
// to have undone what was done (KMIP 1.4 section 6.13).
func (x *exchange) batch(msg, head *item) []result {
	option := kmip.BatchErrorContinuationOption(head.kid(ttlv.TagBatchErrorContinuationOption).enum())
	out := x.one[:0]
	for _, b := range msg.kids {
		if b.tag != ttlv.TagBatchItem {
			continue
		}
		payload, err := x.perform(b, len(msg.kids)-1 > 1)
		if err == nil {
			out = append(out, result{item: b, payload: payload, status: kmip.ResultStatusSuccess})
			continue
		}
		failed := x.failure(b, err)
		if option == kmip.BatchErrorContinuationOptionUndo {
			x.takeBack(out)
		}
		out = append(out, failed)
		if option != kmip.BatchErrorContinuationOptionContinue {
			break
		}
	}
	return out
}

// takeBack undoes what the items of a batch did and tells so in place of their answers.
func (x *exchange) takeBack(done []result) {
	var failed error
	for _, undo := range slices.Backward(x.undo) {
		failed = errors.Join(failed, undo())
	}
	for i, r := range done {
		err := error(&refusal{reason: reasonGeneral, status: kmip.ResultStatusOperationUndone, message: "a later item of the batch failed"})
		if failed != nil {
			err = fmt.Errorf("undo: %w", failed)
		}
		done[i] = x.failure(r.item, err)
	}
}

// failure answers what became of a batch item that failed.
func (x *exchange) failure(b *item, err error) result {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = &refusal{reason: reasonGeneral, message: err.Error()}
	}
	status := r.status
	if status == kmip.ResultStatusSuccess {
		status = kmip.ResultStatusOperationFailed
	}
	return result{item: b, status: status, reason: x.told(r.reason), message: r.message}
}

// told answers the reason as clients of the version know it.
func (x *exchange) told(r reason) reason {
	if x.version.Major() >= 2 {
		if r == reasonItemNotFound {
			return kmip.ResultReasonObjectNotFound
		}
		return r
	}
	switch r {
	case reasonNameTaken:
		if x.op == kmip.OperationAddAttribute || x.op == kmip.OperationModifyAttribute {
			return reasonIllegalOperation
		}
		return reasonInvalidField
	case reasonWrongState, reasonUsageMask, reasonReadOnly:
		return reasonPermissionDenied
	case reasonExists:
		return reasonIllegalOperation
	case reasonNoAttribute:
		if x.op == kmip.OperationModifyAttribute {
			return reasonInvalidField
		}
		return reasonItemNotFound
	case reasonNoInstance:
		return reasonItemNotFound
	case reasonVersionUnsupported:
		return reasonInvalidMessage
	}
	return r
}

// perform does one batch item.
func (x *exchange) perform(b *item, several bool) ([]*item, error) {
	op, payload := b.kid(ttlv.TagOperation), b.kid(ttlv.TagRequestPayload)
	if op == nil || op.val.Type != ttlv.TypeEnumeration {
		return nil, refusef(reasonInvalidMessage, "a batch item without operation")
	}
	x.op = kmip.Operation(op.enum())
	if several && b.kid(ttlv.TagUniqueBatchItemID) == nil && x.version.Major() < 2 {
		return nil, refusef(reasonInvalidMessage, "an item of several has no unique batch item ID")
	}
	if payload == nil || payload.val.Type != ttlv.TypeStructure {
		return nil, refusef(reasonInvalidMessage, "a batch item without request payload")
	}
	if ext := b.kid(ttlv.TagMessageExtension); ext.kid(ttlv.TagCriticalityIndicator).flag() {
		return nil, refusef(reasonFeature, "the message extension of %q is not known", ext.kid(ttlv.TagVendorIdentification).text())
	}
	if f := x.fault; f != nil && f.Kind == Refuse {
		return nil, f.refusal()
	}
	do, ok := x.operation(x.op)
	if !ok {
		return nil, refusef(reasonOperationUnknown, "%s is not supported", x.op)
	}
	if do.needs != open && x.o.Permission(x.client.name) == Pending {
		return nil, refusef(reasonPermissionDenied, "the client %q waits to be accepted", x.client.name)
	}
	if do.needs == changes && x.o.Role == Clone {
		return nil, refusef(reasonPermissionDenied, "this server is a clone: %s is for its master", x.op)
	}
	return do.run(x, payload)
}
