package kmiptest

import (
	"bytes"
	"crypto/rand"
	"slices"
	"sync"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// What clients began in parts (KMIP 1.3 section 4.30: Init Indicator, Correlation Value, Final Indicator) and have not
// finished is bounded; the oldest gives way.
const (
	maxParts = 64
	maxPart  = 1 << 20 // bytes of all parts together
)

// parts keeps what was begun.
type parts struct {
	mu   sync.Mutex // guards list
	list []*part
}

// part is a request that comes in parts.
type part struct {
	corr []byte
	op   kmip.Operation
	id   string // of the object, "" for a hash
	in   *item  // the first part, whose parameters hold for all
	data []byte
}

// gather answers the whole request: what came in if it came in one, the parts put together with the last one, and nil
// with a correlation value while more are to come. o is nil for an operation without a key.
func (x *exchange) gather(in *item, o *object) (whole, corr *item, err error) {
	first, last, c := in.kid(ttlv.TagInitIndicator).flag(), in.kid(ttlv.TagFinalIndicator).flag(), in.kid(ttlv.TagCorrelationValue)
	if !first && c == nil || first && last {
		return in, nil, nil
	}
	id := ""
	if o != nil {
		id = o.id
	}
	p := &x.s.parts
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.list, func(e *part) bool {
		return c != nil && bytes.Equal(e.corr, c.octets()) && e.op == x.op && e.id == id
	})
	switch {
	case first:
		e := &part{corr: make([]byte, 16), op: x.op, id: id, in: in}
		rand.Read(e.corr)
		if len(p.list) == maxParts {
			p.list = slices.Delete(p.list, 0, 1)
		}
		p.list, at = append(p.list, e), len(p.list)
	case at < 0:
		return nil, nil, refusef(kmip.ResultReasonInvalidField, "the correlation value is not one of a running %s", x.op)
	}
	e := p.list[at]
	more := in.kid(ttlv.TagData).octets()
	if len(e.data)+len(more) > maxPart {
		p.list = slices.Delete(p.list, at, at+1)
		return nil, nil, refusef(reasonGeneral, "the parts have more than %d bytes", maxPart)
	}
	e.data = append(e.data, more...)
	if !last {
		return nil, octets(ttlv.TagCorrelationValue, e.corr), nil
	}
	p.list = slices.Delete(p.list, at, at+1)
	return e.together(in), nil, nil
}

// together puts the first part, the last one and the data of all into one request. What the last part brings (a tag, a
// signature) stands besides.
func (e *part) together(last *item) *item {
	out := structure(last.tag, octets(ttlv.TagData, e.data))
	for _, from := range []*item{e.in, last} {
		for _, k := range from.kids {
			if k.tag != ttlv.TagData && out.kid(k.tag) == nil {
				out.add(k)
			}
		}
	}
	return out
}
