package kmiptest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// check tells what is wrong with a fault.
func (f *Fault) check() error {
	where, ok := places()[f.Kind]
	op := true
	if f.Operation != "" {
		_, op = ttlv.TagOperation.ValueByID(f.Operation)
	}
	switch {
	case !ok:
		return fmt.Errorf("%q is no kind of fault; the kinds are %v", f.Kind, Kinds())
	case !op:
		return fmt.Errorf("%q is no operation of KMIP", f.Operation)
	case where == atConnect && f.Operation != "":
		return fmt.Errorf("a fault %q strikes before an operation is known", f.Kind)
	case (f.Kind == Slow || f.Kind == Trickle) && f.Delay <= 0:
		return fmt.Errorf("a fault %q needs a delay", f.Kind)
	case f.Bytes < 0 || f.Times < 0 || f.Delay < 0:
		return fmt.Errorf("a fault %q with a negative number", f.Kind)
	}
	if _, ok := ttlv.TagResultStatus.ValueByID(f.Status); f.Status != "" && !ok {
		return fmt.Errorf("%q is no result status of KMIP", f.Status)
	}
	if _, ok := ttlv.TagResultReason.ValueByID(f.Reason); f.Reason != "" && !ok {
		return fmt.Errorf("%q is no result reason of KMIP", f.Reason)
	}
	return nil
}

// refusal is what a Refuse answers.
func (f *Fault) refusal() error {
	r := &refusal{reason: reasonGeneral, message: f.Message}
	if n, ok := ttlv.TagResultReason.ValueByID(f.Reason); ok && f.Reason != "" {
		r.reason = reason(n)
	}
	if n, ok := ttlv.TagResultStatus.ValueByID(f.Status); ok && f.Status != "" {
		r.status = kmip.ResultStatus(n)
	}
	return r
}

// spoilConnection does what a fault of connections says.
func spoilConnection(raw net.Conn, f *Fault) error {
	if f.Kind == Reset {
		if tcp, ok := raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // close with RST
		}
		return errInjected
	}
	_ = raw.SetDeadline(time.Time{})
	_, _ = io.Copy(io.Discard, raw) // until the peer goes, or Down closes the connection
	return errInjected
}

// spoil sends what a fault makes of an answer. Kinds that leave the connection in order go on.
func (s *Server) spoil(conn net.Conn, answer, req *item, f *Fault, down <-chan struct{}) error {
	switch f.Kind {
	case LoseAnswer:
		return errInjected
	case Cut:
		b := answer.bytes()
		if err := s.send(conn, b[:min(f.Bytes, len(b))]); err != nil {
			return err
		}
		return errInjected
	case Trickle:
		for _, b := range answer.bytes() {
			if !wait(f.Delay, down) {
				return net.ErrClosed
			}
			if err := s.send(conn, []byte{b}); err != nil {
				return err
			}
		}
		return nil
	}
	return s.send(conn, malformed(f.Kind, answer, req))
}

// malformed makes the bytes of a spoiled answer.
func malformed(k Kind, answer, req *item) []byte {
	a := deep(answer)
	first := a.kid(ttlv.TagBatchItem)
	switch k {
	case OtherOperation:
		*first = *otherAnswer(first)
	case OtherVersion:
		*a.at(ttlv.TagResponseHeader, ttlv.TagProtocolVersion) = *writeVersion(version(9<<16 | 9))
	case WrongCount:
		*a.at(ttlv.TagResponseHeader, ttlv.TagBatchCount) = *integer(ttlv.TagBatchCount, int32(len(a.all(ttlv.TagBatchItem))+1))
	case NoItems:
		*a.at(ttlv.TagResponseHeader, ttlv.TagBatchCount) = *integer(ttlv.TagBatchCount, 0)
		a.kids = a.kids[:1]
	case NoPayload:
		drop(first, ttlv.TagResponsePayload)
	case NoKey:
		strip(a, ttlv.TagKeyBlock)
	case NotResponse:
		return req.bytes()
	case BadType:
		if op := first.kid(ttlv.TagOperation); op != nil {
			*op = *text(ttlv.TagOperation, "Get")
		}
	case Oversize:
		return binary.BigEndian.AppendUint32([]byte{0x42, 0x00, 0x7B, 0x01}, 1<<31-8)
	case Endless:
		return endless(10_000)
	case BadLength:
		b := a.bytes()
		binary.BigEndian.PutUint32(b[12:], 0x7FFF_FFF8) // the length of the response header
		return b
	case BadPadding:
		return dirty(a)
	case Garbage:
		return []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	}
	return a.bytes()
}

// deep copies a tree.
func deep(it *item) *item {
	c := *it
	c.kids = make([]*item, len(it.kids))
	for i, k := range it.kids {
		c.kids[i] = deep(k)
	}
	return &c
}

func drop(it *item, t ttlv.Tag) {
	if it != nil {
		it.kids = slices.DeleteFunc(it.kids, func(k *item) bool { return k.tag == t })
	}
}

// strip removes items with the tag from the whole tree.
func strip(it *item, t ttlv.Tag) {
	drop(it, t)
	for _, k := range it.kids {
		strip(k, t)
	}
}

// otherAnswer is a good answer, to an operation that was not asked for.
func otherAnswer(first *item) *item {
	op, payload := kmip.OperationLocate, structure(ttlv.TagResponsePayload, text(ttlv.TagUniqueIdentifier, "1"))
	if first.kid(ttlv.TagOperation).enum() == uint32(kmip.OperationLocate) {
		op = kmip.OperationActivate
	}
	return structure(ttlv.TagBatchItem, enum(ttlv.TagOperation, op), first.kid(ttlv.TagUniqueBatchItemID),
		enum(ttlv.TagResultStatus, kmip.ResultStatusSuccess), payload)
}

// endless nests empty structures.
func endless(depth int) []byte {
	var b []byte
	for i := range depth {
		b = append(b, 0x42, 0x00, 0x7B, 0x01)
		b = binary.BigEndian.AppendUint32(b, uint32(8*(depth-1-i)))
	}
	return b
}

// dirty sets the padding behind the first item that has some: the version's major number.
func dirty(a *item) []byte {
	b := a.bytes()
	mark := []byte{0x42, 0x00, 0x6A, 0x02, 0, 0, 0, 4}
	if i := bytes.Index(b, mark); i >= 0 {
		b[i+len(mark)+7] = 0xFF
	}
	return b
}
